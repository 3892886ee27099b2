// The part of ONNX Runtime's C interface that these operators use, declared here because its wheel brings no
// headers. Every function is of version 1 of the interface, whose order is fixed for good; the operator table
// is that of version 16. Source: the C API reference, onnxruntime.ai/docs/api/c.
#pragma once

#include <cstddef>
#include <cstdint>

struct OrtStatus;
struct OrtValue;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtTensorTypeAndShapeInfo;

struct OrtApi {
    void* functions[102];
};

struct OrtApiBase {
    const OrtApi* (*GetApi)(uint32_t version);
    const char* (*GetVersionString)();
};

enum ElementType : int { kFloat = 1, kInt8 = 3, kInt32 = 6, kInt64 = 7, kHalf = 10 };
enum Characteristic : int { kRequired = 0, kOptional = 1 };

struct OrtCustomOp {
    uint32_t version;
    void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
    const char* (*GetName)(const OrtCustomOp*);
    const char* (*GetExecutionProviderType)(const OrtCustomOp*);
    ElementType (*GetInputType)(const OrtCustomOp*, size_t);
    size_t (*GetInputTypeCount)(const OrtCustomOp*);
    ElementType (*GetOutputType)(const OrtCustomOp*, size_t);
    size_t (*GetOutputTypeCount)(const OrtCustomOp*);
    void (*KernelCompute)(void*, OrtKernelContext*);
    void (*KernelDestroy)(void*);
    Characteristic (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
    Characteristic (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
    int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
    int (*GetVariadicInputMinArity)(const OrtCustomOp*);
    int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
    int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
    int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
    OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
    OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
};

namespace ort {

constexpr uint32_t kVersion = 16;

// Each function's place in the interface, with its type.
template <int Index, typename... Arguments>
struct Function {
    OrtStatus* operator()(const OrtApi* api, Arguments... arguments) const {
        using Pointer = OrtStatus* (*)(Arguments...);
        return reinterpret_cast<Pointer>(api->functions[Index])(arguments...);
    }
};

constexpr Function<0, int, const char*> CreateStatus;
constexpr Function<26, const char*, OrtCustomOpDomain**> CreateCustomOpDomain;
constexpr Function<27, OrtCustomOpDomain*, const OrtCustomOp*> CustomOpDomain_Add;
constexpr Function<28, OrtSessionOptions*, OrtCustomOpDomain*> AddCustomOpDomain;
constexpr Function<51, OrtValue*, void**> GetTensorMutableData;
constexpr Function<61, const OrtTensorTypeAndShapeInfo*, size_t*> GetDimensionsCount;
constexpr Function<62, const OrtTensorTypeAndShapeInfo*, int64_t*, size_t> GetDimensions;
constexpr Function<65, const OrtValue*, OrtTensorTypeAndShapeInfo**> GetTensorTypeAndShape;
constexpr Function<86, const OrtKernelInfo*, const char*, int64_t*> KernelInfoGetAttribute_int64;
constexpr Function<90, const OrtKernelContext*, size_t, const OrtValue**> KernelContext_GetInput;
constexpr Function<91, OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**> KernelContext_GetOutput;

inline void ReleaseStatus(const OrtApi* api, OrtStatus* status) {
    reinterpret_cast<void (*)(OrtStatus*)>(api->functions[93])(status);
}

inline void ReleaseTensorTypeAndShapeInfo(const OrtApi* api, OrtTensorTypeAndShapeInfo* info) {
    reinterpret_cast<void (*)(OrtTensorTypeAndShapeInfo*)>(api->functions[99])(info);
}

}  // namespace ort

// An operator as ONNX Runtime calls it: its tensors, and what it throws as errors of the run.
#pragma once

#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include "ort_abi.h"

namespace gap {

constexpr int kFail = 1;  // ORT_FAIL

struct Operator;

struct Kernel {
    const OrtApi* api;
    const Operator* op;
    int64_t attribute;
};

struct Tensor {
    void* data = nullptr;
    std::vector<int64_t> shape;

    template <typename T>
    T* as() const {
        return static_cast<T*>(data);
    }
    int64_t last() const { return shape.empty() ? 1 : shape.back(); }
    int64_t count() const {
        int64_t product = 1;
        for (int64_t size : shape) product *= size;
        return product;
    }
    int64_t rows() const { return last() ? count() / last() : 0; }
};

struct Failure {
    const char* message;
};

inline void require(bool holds, const char* message) {
    if (!holds) throw Failure{message};
}

class Call {
   public:
    Call(const Kernel& kernel, OrtKernelContext* context) : kernel_(kernel), context_(context) {}

    int64_t attribute() const { return kernel_.attribute; }

    // The input `index`, without data where it is optional and absent.
    Tensor input(size_t index) const {
        const OrtValue* value = nullptr;
        check(ort::KernelContext_GetInput(kernel_.api, context_, index, &value));
        Tensor tensor;
        if (!value) return tensor;
        OrtTensorTypeAndShapeInfo* info = nullptr;
        check(ort::GetTensorTypeAndShape(kernel_.api, value, &info));
        size_t rank = 0;
        OrtStatus* counted = ort::GetDimensionsCount(kernel_.api, info, &rank);
        tensor.shape.resize(rank);
        OrtStatus* read = ort::GetDimensions(kernel_.api, info, tensor.shape.data(), rank);
        ort::ReleaseTensorTypeAndShapeInfo(kernel_.api, info);
        check(counted);
        check(read);
        check(ort::GetTensorMutableData(kernel_.api, const_cast<OrtValue*>(value), &tensor.data));
        return tensor;
    }

    template <typename T = float>
    T* output(size_t index, const std::vector<int64_t>& shape) const {
        OrtValue* value = nullptr;
        void* data = nullptr;
        check(ort::KernelContext_GetOutput(kernel_.api, context_, index, shape.data(), shape.size(), &value));
        check(ort::GetTensorMutableData(kernel_.api, value, &data));
        return static_cast<T*>(data);
    }

   private:
    void check(OrtStatus* status) const {
        if (!status) return;
        ort::ReleaseStatus(kernel_.api, status);
        throw Failure{"ONNX Runtime gave no tensor"};
    }

    const Kernel& kernel_;
    OrtKernelContext* context_;
};

struct Operator : OrtCustomOp {
    const char* name;
    const char* attribute;  // the one integer attribute, or null
    std::vector<ElementType> inputs;
    size_t required;  // inputs before the optional ones
    std::vector<ElementType> outputs;
    void (*compute)(const Call&);

    Operator(const char* name, const char* attribute, std::vector<ElementType> inputs, size_t required,
             std::vector<ElementType> outputs, void (*compute)(const Call&))
        : OrtCustomOp{},
          name(name),
          attribute(attribute),
          inputs(std::move(inputs)),
          required(required),
          outputs(std::move(outputs)),
          compute(compute) {
        version = ort::kVersion;
        GetName = [](const OrtCustomOp* op) { return of(op)->name; };
        GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
        GetInputType = [](const OrtCustomOp* op, size_t index) { return of(op)->inputs[index]; };
        GetInputTypeCount = [](const OrtCustomOp* op) { return of(op)->inputs.size(); };
        GetOutputType = [](const OrtCustomOp* op, size_t index) { return of(op)->outputs[index]; };
        GetOutputTypeCount = [](const OrtCustomOp* op) { return of(op)->outputs.size(); };
        GetInputCharacteristic = [](const OrtCustomOp* op, size_t index) {
            return index < of(op)->required ? kRequired : kOptional;
        };
        GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return kRequired; };
        GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
        CreateKernelV2 = [](const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
            int64_t value = 0;
            OrtStatus* status = nullptr;
            if (of(op)->attribute)
                status = ort::KernelInfoGetAttribute_int64(api, info, of(op)->attribute, &value);
            if (!status) *kernel = new Kernel{api, of(op), value};
            return status;
        };
        KernelComputeV2 = [](void* kernel, OrtKernelContext* context) -> OrtStatus* {
            const Kernel& it = *static_cast<Kernel*>(kernel);
            try {
                it.op->compute(Call(it, context));
                return nullptr;
            } catch (const Failure& failure) {
                return ort::CreateStatus(it.api, kFail, failure.message);
            } catch (const std::exception& error) {
                return ort::CreateStatus(it.api, kFail, error.what());
            }
        };
        KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    }

    static const Operator* of(const OrtCustomOp* op) { return static_cast<const Operator*>(op); }
};

}  // namespace gap

// Registers the operators of domain `gap` with ONNX Runtime. Shapes that do not fit each other, ids beyond the
// table and lengths beyond the buffers are errors of the run, which ONNX Runtime raises.
#include <cstring>
#include <exception>
#include <vector>

#include "attention.h"
#include "ort_abi.h"
#include "row_linear.h"

namespace {

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

void require(bool holds, const char* message) {
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

gap::LinearWeights packed(const Tensor& codes, const Tensor& scale) {
    require(codes.shape.size() == 4 && codes.shape[2] == gap::kPanel && codes.shape[3] == 4,
            "weight must be [panels, inputs/4, 64, 4]");
    gap::LinearWeights weights{};
    weights.codes = codes.as<int8_t>();
    weights.scale = scale.as<float>();
    weights.inputs = 4 * codes.shape[1];
    weights.outputs = scale.count();
    require(weights.outputs <= size_t(codes.shape[0]) * gap::kPanel, "scale has more outputs than weight");
    return weights;
}

gap::LinearWeights layer(const Tensor& x, const Tensor& codes, const Tensor& scale, const Tensor& sums,
                         const Tensor& bias) {
    gap::LinearWeights weights = packed(codes, scale);
    require(size_t(x.last()) == weights.inputs, "x does not fit weight");
    require(size_t(sums.count()) == weights.outputs, "weight_sum does not fit scale");
    require(!bias.data || size_t(bias.count()) == weights.outputs, "bias does not fit scale");
    weights.code_sum = sums.as<int32_t>();
    weights.bias = bias.as<float>();
    return weights;
}

void row_linear(const Call& call) {
    const Tensor x = call.input(0), residual = call.input(5);
    gap::LinearWeights weights = layer(x, call.input(1), call.input(2), call.input(3), call.input(4));
    weights.activation = gap::Activation(call.attribute());
    std::vector<int64_t> shape = x.shape;
    shape.back() = weights.outputs;
    require(!residual.data || residual.shape == shape, "residual does not fit the output");
    gap::row_linear(weights, x.as<float>(), x.rows(), residual.as<float>(), call.output(0, shape));
}

void row_argmax(const Call& call) {
    const Tensor x = call.input(0), forbidden = call.input(4);
    const gap::LinearWeights weights = layer(x, call.input(1), call.input(2), call.input(3), call.input(5));
    require(forbidden.rows() == x.rows(), "forbidden does not fit x");
    gap::row_argmax(weights, x.as<float>(), x.rows(), forbidden.as<int64_t>(), forbidden.last(),
                    call.output<int64_t>(0, {x.rows(), 1}));
}

void embed_rows(const Call& call) {
    const Tensor scale = call.input(1), ids = call.input(2);
    const gap::LinearWeights table = packed(call.input(0), scale);
    for (int64_t i = 0; i < ids.count(); ++i)
        require(ids.as<int64_t>()[i] >= 0 && size_t(ids.as<int64_t>()[i]) < table.outputs, "an id is beyond the table");
    std::vector<int64_t> shape = ids.shape;
    shape.push_back(table.inputs);
    gap::embed_rows(table.codes, table.scale, table.inputs, ids.as<int64_t>(), ids.count(), call.output(0, shape));
}

void packed_attention(const Call& call) {
    const Tensor qkv = call.input(0), lengths = call.input(1);
    const int64_t heads = call.attribute(), width = qkv.last() / 3;
    require(heads > 0 && 3 * width == qkv.last() && width % heads == 0, "qkv does not fit heads");
    int64_t tokens = 0;
    for (int64_t i = 0; i < lengths.count(); ++i) {
        require(lengths.as<int32_t>()[i] > 0, "a text has no tokens");
        tokens += lengths.as<int32_t>()[i];
    }
    require(tokens == qkv.rows(), "lengths do not add up to the tokens");
    gap::packed_attention(qkv.as<float>(), lengths.as<int32_t>(), lengths.count(), heads, width / heads,
                          call.output(0, {tokens, width}));
}

// Checks buffers [rows, heads, stride, head_dim] of keys and values, and that every length is in [1, stride].
void check_buffers(const Tensor& keys, const Tensor& values, const Tensor& lengths, int32_t more, int64_t heads,
                   int64_t width) {
    require(keys.shape.size() == 4 && keys.shape == values.shape, "keys and values differ in shape");
    require(keys.shape[1] == heads && heads * keys.shape[3] == width, "keys do not fit heads");
    require(lengths.count() == keys.shape[0], "lengths do not fit keys");
    for (int64_t row = 0; row < lengths.count(); ++row) {
        const int64_t length = int64_t(lengths.as<int32_t>()[row]) + more;
        require(length > 0 && length <= keys.shape[2], "a length is beyond the buffer");
    }
}

void step_attention(const Call& call) {
    const Tensor qkv = call.input(0), keys = call.input(1), values = call.input(2), past_len = call.input(3);
    const int64_t heads = call.attribute(), rows = qkv.rows(), width = qkv.last() / 3;
    check_buffers(keys, values, past_len, 1, heads, width);
    require(rows == keys.shape[0], "qkv does not fit the buffers");
    const int64_t stride = keys.shape[2], head_dim = keys.shape[3];
    gap::half* present[2] = {call.output<gap::half>(1, keys.shape), call.output<gap::half>(2, values.shape)};
    const Tensor* past[2] = {&keys, &values};
    for (int part = 0; part < 2; ++part) {
        if (present[part] != past[part]->data)
            std::memcpy(present[part], past[part]->data, past[part]->count() * sizeof(gap::half));
        for (int64_t row = 0; row < rows; ++row) {
            const float* token = qkv.as<float>() + (3 * row + 1 + part) * width;
            gap::half* place = present[part] + (row * heads * stride + past_len.as<int32_t>()[row]) * head_dim;
            for (int64_t head = 0; head < heads; ++head)
                gap::to_half(token + head * head_dim, head_dim, place + head * stride * head_dim);
        }
    }
    std::vector<int64_t> shape = qkv.shape;
    shape.back() = width;
    gap::row_attention(qkv.as<float>(), 3 * width, present[0], present[1], past_len.as<int32_t>(), 1, rows, heads,
                       stride, head_dim, call.output(0, shape));
}

void cross_attention(const Call& call) {
    const Tensor query = call.input(0), keys = call.input(1), values = call.input(2), lengths = call.input(3);
    const int64_t heads = call.attribute(), width = query.last();
    check_buffers(keys, values, lengths, 0, heads, width);
    require(query.rows() == keys.shape[0], "query does not fit keys");
    gap::row_attention(query.as<float>(), width, keys.as<gap::half>(), values.as<gap::half>(), lengths.as<int32_t>(), 0,
                       query.rows(), heads, keys.shape[2], keys.shape[3], call.output(0, query.shape));
}

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
            constexpr int kFail = 1;
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

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
    static const Operator operators[] = {
        {"RowLinear", "activation", {kFloat, kInt8, kFloat, kInt32, kFloat, kFloat}, 4, {kFloat}, row_linear},
        {"RowArgMax", nullptr, {kFloat, kInt8, kFloat, kInt32, kInt64, kFloat}, 5, {kInt64}, row_argmax},
        {"EmbedRows", nullptr, {kInt8, kFloat, kInt64}, 3, {kFloat}, embed_rows},
        {"PackedAttention", "heads", {kFloat, kInt32}, 2, {kFloat}, packed_attention},
        {"StepAttention", "heads", {kFloat, kHalf, kHalf, kInt32}, 4, {kFloat, kHalf, kHalf}, step_attention},
        {"CrossAttention", "heads", {kFloat, kHalf, kHalf, kInt32}, 4, {kFloat}, cross_attention},
    };
    const OrtApi* api = base->GetApi(ort::kVersion);
    // Lives as long as the process: sessions may.
    static OrtCustomOpDomain* domain = nullptr;
    if (!domain) {
        if (OrtStatus* status = ort::CreateCustomOpDomain(api, "gap", &domain)) return status;
        for (const Operator& op : operators)
            if (OrtStatus* status = ort::CustomOpDomain_Add(api, domain, &op)) return status;
    }
    return ort::AddCustomOpDomain(api, options, domain);
}

// Registers the operators of domain `gap` with ONNX Runtime. Shapes that do not fit each other, ids beyond the
// table and lengths beyond the buffers are errors of the run, which ONNX Runtime raises.
#include <algorithm>
#include <cstring>
#include <vector>

#include "argmax.h"
#include "attention.h"
#include "layer_norm.h"
#include "operator.h"
#include "row_linear.h"

namespace gap {
namespace {

LinearWeights packed(const Tensor& codes, const Tensor& scale) {
    require(codes.shape.size() == 4 && codes.shape[2] == kPanel && codes.shape[3] == 4,
            "weight must be [panels, inputs/4, panel, 4], of the panel that these kernels read");
    LinearWeights weights{};
    weights.codes = codes.as<int8_t>();
    weights.scale = scale.as<float>();
    weights.inputs = 4 * codes.shape[1];
    weights.outputs = scale.count();
    require(weights.outputs <= size_t(codes.shape[0]) * kPanel, "scale has more outputs than weight");
    return weights;
}

LinearWeights weights_of(const Tensor& codes, const Tensor& scale, const Tensor& sums, const Tensor& bias) {
    LinearWeights weights = packed(codes, scale);
    require(size_t(sums.count()) == weights.outputs, "weight_sum does not fit scale");
    require(!bias.data || size_t(bias.count()) == weights.outputs, "bias does not fit scale");
    weights.code_sum = sums.as<int32_t>();
    weights.bias = bias.as<float>();
    return weights;
}

LinearWeights layer(const Tensor& x, const Tensor& codes, const Tensor& scale, const Tensor& sums,
                    const Tensor& bias) {
    const LinearWeights weights = weights_of(codes, scale, sums, bias);
    require(size_t(x.last()) == weights.inputs, "x does not fit weight");
    return weights;
}

Forbidden columns(const Tensor& forbidden, const Tensor& x) {
    require(forbidden.rows() == x.rows(), "forbidden does not fit x");
    return {forbidden.as<int64_t>(), size_t(forbidden.last())};
}

void row_linear(const Call& call) {
    const Tensor x = call.input(0), residual = call.input(5);
    LinearWeights weights = layer(x, call.input(1), call.input(2), call.input(3), call.input(4));
    weights.activation = Activation(call.attribute());
    std::vector<int64_t> shape = x.shape;
    shape.back() = weights.outputs;
    require(!residual.data || residual.shape == shape, "residual does not fit the output");
    float* y = call.output(0, shape);
    gap::row_linear(weights, x.as<float>(), x.rows(), residual.as<float>(), y);
    const Tensor norm_weight = call.input(6), norm_bias = call.input(7), epsilon = call.input(8);
    if (!norm_weight.data) return;
    require(size_t(norm_weight.count()) == weights.outputs && norm_bias.count() == norm_weight.count(),
            "norm does not fit the output");
    require(epsilon.count() == 1, "a norm has one epsilon");
    layer_norm(y, x.rows(), weights.outputs, norm_weight.as<float>(), norm_bias.as<float>(), *epsilon.as<float>());
}

void row_argmax(const Call& call) {
    const Tensor x = call.input(0), forbidden = call.input(4);
    const LinearWeights weights = layer(x, call.input(1), call.input(2), call.input(3), call.input(5));
    gap::row_argmax(weights, x.as<float>(), x.rows(), columns(forbidden, x),
                    call.output<int64_t>(0, {x.rows(), 1}));
}

void screened_argmax(const Call& call) {
    const Tensor x = call.input(0), codes = call.input(4), scale = call.input(5), norm = call.input(6),
                 forbidden = call.input(7);
    TwoBlocks weights{};
    weights.first = weights_of(call.input(1), call.input(2), call.input(3), call.input(8));
    require(weights.first.inputs < size_t(x.last()), "the first block has all of x");
    weights.rest = x.last() - weights.first.inputs;
    const int64_t outputs = weights.first.outputs;
    require(codes.count() == outputs * int64_t(weights.rest), "rest does not fit the first block and x");
    require(scale.count() == outputs && norm.count() == outputs, "the scale or norm of rest does not fit");
    weights.rest_codes = codes.as<int8_t>();
    weights.rest_scale = scale.as<float>();
    weights.rest_norm = norm.as<float>();
    gap::screened_argmax(weights, x.as<float>(), x.rows(), columns(forbidden, x),
                         call.output<int64_t>(0, {x.rows(), 1}));
}

void embed_rows(const Call& call) {
    const Tensor scale = call.input(1), ids = call.input(2);
    const LinearWeights table = packed(call.input(0), scale);
    for (int64_t i = 0; i < ids.count(); ++i)
        require(ids.as<int64_t>()[i] >= 0 && size_t(ids.as<int64_t>()[i]) < table.outputs, "an id is beyond the table");
    std::vector<int64_t> shape = ids.shape;
    shape.push_back(table.inputs);
    gap::embed_rows(table.codes, table.scale, table.inputs, ids.as<int64_t>(), ids.count(), call.output(0, shape));
}

// The longest of the texts that packed tokens are made of.
int64_t check_lengths(const Tensor& lengths, int64_t tokens) {
    int64_t sum = 0, longest = 0;
    for (int64_t i = 0; i < lengths.count(); ++i) {
        const int64_t length = lengths.as<int32_t>()[i];
        require(length > 0, "a text has no tokens");
        sum += length;
        longest = std::max(longest, length);
    }
    require(sum == tokens, "lengths do not add up to the tokens");
    return longest;
}

void packed_attention(const Call& call) {
    const Tensor qkv = call.input(0), lengths = call.input(1);
    const int64_t heads = call.attribute(), width = qkv.last() / 3;
    require(heads > 0 && 3 * width == qkv.last() && width % heads == 0, "qkv does not fit heads");
    check_lengths(lengths, qkv.rows());
    gap::packed_attention(qkv.as<float>(), lengths.as<int32_t>(), lengths.count(), heads, width / heads,
                          call.output(0, {qkv.rows(), width}));
}

// Keys or values of packed texts x [tokens, width], as rows that start each at a place of its own.
void keep_rows(const Call& call) {
    const Tensor x = call.input(0), lengths = call.input(1);
    const int64_t texts = lengths.count(), width = x.last(), longest = check_lengths(lengths, x.rows());
    const float* token = x.as<float>();
    half* row = call.output<half>(0, {texts, 1, longest, width});
    for (int64_t i = 0; i < texts; ++i, row += longest * width) {
        const int64_t size = lengths.as<int32_t>()[i] * width;
        to_half(token, size, row);
        std::memset(row + size, 0, (longest * width - size) * sizeof(half));
        token += size;
    }
}

// Checks buffers [rows, 1, stride, width] of keys and values, and that every length is in [1, stride].
void check_buffers(const Tensor& keys, const Tensor& values, const Tensor& lengths, int32_t more, int64_t heads,
                   int64_t width) {
    require(keys.shape.size() == 4 && keys.shape == values.shape, "keys and values differ in shape");
    require(keys.shape[1] == 1 && keys.shape[3] == width && width % heads == 0, "keys do not fit heads");
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
    const int64_t stride = keys.shape[2];
    half* present[2] = {call.output<half>(1, keys.shape), call.output<half>(2, values.shape)};
    const Tensor* past[2] = {&keys, &values};
    for (int part = 0; part < 2; ++part) {
        if (present[part] != past[part]->data)
            std::memcpy(present[part], past[part]->data, past[part]->count() * sizeof(half));
        for (int64_t row = 0; row < rows; ++row)
            to_half(qkv.as<float>() + (3 * row + 1 + part) * width, width,
                    present[part] + (row * stride + past_len.as<int32_t>()[row]) * width);
    }
    std::vector<int64_t> shape = qkv.shape;
    shape.back() = width;
    gap::row_attention(qkv.as<float>(), 3 * width, present[0], present[1], past_len.as<int32_t>(), 1, rows, heads, stride,
                       width / heads, call.output(0, shape));
}

void cross_attention(const Call& call) {
    const Tensor query = call.input(0), keys = call.input(1), values = call.input(2), lengths = call.input(3);
    const int64_t heads = call.attribute(), width = query.last();
    check_buffers(keys, values, lengths, 0, heads, width);
    require(query.rows() == keys.shape[0], "query does not fit keys");
    gap::row_attention(query.as<float>(), width, keys.as<half>(), values.as<half>(), lengths.as<int32_t>(), 0,
                       query.rows(), heads, keys.shape[2], width / heads, call.output(0, query.shape));
}

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
    static const Operator operators[] = {
        {"RowLinear", "activation", {kFloat, kInt8, kFloat, kInt32, kFloat, kFloat, kFloat, kFloat, kFloat}, 4, {kFloat},
         row_linear},
        {"RowArgMax", nullptr, {kFloat, kInt8, kFloat, kInt32, kInt64, kFloat}, 5, {kInt64}, row_argmax},
        {"ScreenedArgMax", nullptr, {kFloat, kInt8, kFloat, kInt32, kInt8, kFloat, kFloat, kInt64, kFloat}, 8, {kInt64},
         screened_argmax},
        {"EmbedRows", nullptr, {kInt8, kFloat, kInt64}, 3, {kFloat}, embed_rows},
        {"PackedAttention", "heads", {kFloat, kInt32}, 2, {kFloat}, packed_attention},
        {"KeepRows", nullptr, {kFloat, kInt32}, 2, {kHalf}, keep_rows},
        {"StepAttention", "heads", {kFloat, kHalf, kHalf, kInt32}, 4, {kFloat, kHalf, kHalf}, step_attention},
        {"CrossAttention", "heads", {kFloat, kHalf, kHalf, kInt32}, 4, {kFloat}, cross_attention},
    };
    const OrtApi* api = base->GetApi(ort::kVersion);
    if (!may_multiply()) return ort::CreateStatus(api, kFail, "this system does not allow the tiles of AMX");
    // Lives as long as the process: sessions may.
    static OrtCustomOpDomain* domain = nullptr;
    if (!domain) {
        if (OrtStatus* status = ort::CreateCustomOpDomain(api, "gap", &domain)) return status;
        for (const Operator& op : operators)
            if (OrtStatus* status = ort::CustomOpDomain_Add(api, domain, &op)) return status;
    }
    return ort::AddCustomOpDomain(api, options, domain);
}

}  // namespace gap

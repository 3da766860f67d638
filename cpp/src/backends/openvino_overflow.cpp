#include "backends/openvino_overflow.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <openvino/op/constant.hpp>
#include <openvino/op/convert.hpp>
#include <openvino/op/fake_quantize.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/op/multiply.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/runtime/properties.hpp>
#include <vector>

namespace hrvit {
namespace {

namespace op = ov::op::v0;

constexpr std::size_t side = 64;
constexpr float largest = 255;
constexpr std::int8_t weight = 127;

std::shared_ptr<op::Constant> number(float value) {
    return op::Constant::create(ov::element::f32, ov::Shape{}, {value});
}

/// A quantized product of the largest numbers there are.
std::shared_ptr<ov::Model> product() {
    const auto given = std::make_shared<op::Parameter>(ov::element::f32, ov::Shape{1, side});
    const auto low = number(0);
    const auto high = number(largest);
    const auto taken = std::make_shared<op::FakeQuantize>(given, low, high, low, high, 256);
    const auto weights = op::Constant::create(ov::element::i8, ov::Shape{side, side},
                                              std::vector<std::int8_t>(side * side, weight));
    const auto wide = std::make_shared<op::Convert>(weights, ov::element::f32);
    const auto scaled = std::make_shared<ov::op::v1::Multiply>(wide, number(1));
    const auto result = std::make_shared<op::MatMul>(taken, scaled, false, true);
    return std::make_shared<ov::Model>(ov::OutputVector{result}, ov::ParameterVector{given});
}

bool overflows(ov::Core& core) {
    auto compiled =
        core.compile_model(product(), "CPU", ov::hint::inference_precision(ov::element::f32),
                           ov::inference_num_threads(1));
    auto request = compiled.create_infer_request();
    ov::Tensor input = request.get_input_tensor();
    std::fill_n(input.data<float>(), input.get_size(), largest);
    request.infer();
    const ov::Tensor answer = request.get_output_tensor();
    const float right = static_cast<float>(side) * largest * static_cast<float>(weight);
    const auto* values = answer.data<const float>();
    return !std::all_of(values, values + answer.get_size(), [right](float value) {
        return std::abs(value - right) <= 0.01F * right;
    });
}

}  // namespace

void keep_from_overflowing(ov::Core& core, const ov::Model& model, ov::AnyMap& config) {
    const auto nodes = model.get_ops();
    const bool quantized = std::any_of(nodes.begin(), nodes.end(), [](const auto& node) {
        return ov::is_type<op::FakeQuantize>(node);
    });
    if (quantized && overflows(core)) {
        config["LP_TRANSFORMS_MODE"] = false;
    }
}

}  // namespace hrvit

/// ONNX graphs in OpenVINO on the CPU; nothing else includes it.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <openvino/runtime/core.hpp>
#include <openvino/runtime/properties.hpp>
#include <sstream>
#include <utility>

#include "backends/backend.hpp"
#include "backends/openvino_overflow.hpp"
#include "cores.hpp"
#include "hrvit/error.hpp"
#include "pool.hpp"

namespace hrvit {
namespace {

constexpr auto device = "CPU";

/// The last line: those before it say where in OpenVINO's source it was raised.
std::string reason(const std::exception& error) {
    std::istringstream lines{error.what()};
    std::string last = "it gave no reason";
    for (std::string line; std::getline(lines, line);) {
        const std::size_t start = line.find_first_not_of("- \t");
        last = start == std::string::npos ? last : line.substr(start);
    }
    return last;
}

ov::float16 to_half(float value) { return {value}; }

/// To the nearest, halves to even: `ov::bfloat16`'s own constructor cuts every other number
/// off instead (seen in 2026.4).
ov::bfloat16 to_bfloat16(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    bits += 0x7FFFU + ((bits >> 16U) & 1U);
    return ov::bfloat16::from_bits(static_cast<std::uint16_t>(bits >> 16U));
}

/// Finite floats as the graph's narrower type, rounded as NumPy rounds.
template <typename Narrow>
ov::Tensor narrowed(const Tensor& input, const ov::element::Type& type,
                    Narrow (*narrow)(float)) {
    const auto& values = std::get<std::vector<float>>(input.values);
    ov::Tensor tensor(type, input.shape);
    std::transform(values.begin(), values.end(), tensor.data<Narrow>(), narrow);
    return tensor;
}

template <typename Narrow>
std::vector<float> widened(const ov::Tensor& tensor) {
    const auto* values = tensor.data<const Narrow>();
    return {values, values + tensor.get_size()};
}

/// A request, and what its last answer was widened to.
struct Lane {
    ov::InferRequest request;
    std::vector<float> widened;
};

class OpenVino final : public Backend {
  public:
    OpenVino(ov::CompiledModel compiled, const Manifest& manifest,
             const SessionOptions& options)
        : compiled_(std::move(compiled)),
          input_(compiled_.input(manifest.input.name)),
          output_(compiled_.output(manifest.output.name)),
          lanes_(make_lanes(compiled_, options.parallel)),
          name_(name_for(compiled_.get_property(ov::hint::inference_precision))) {}

    [[nodiscard]] Answer run(const Tensor& input) override {
        const auto lane = lanes_.borrow();
        try {
            lane->request.set_tensor(input_, fed(input));
            lane->request.infer();
            Answer answer = read(*lane);
            answer.held = lane;
            return answer;
        } catch (const ov::Exception& error) {
            throw RunnerError("OpenVINO failed: " + reason(error),
                              "run the graph in onnxruntime, from Python");
        }
    }

    [[nodiscard]] const std::string& name() const noexcept override { return name_; }

  private:
    static std::string name_for(const ov::element::Type& precision) {
        const std::string name = "openvino-cpu";
        return precision == ov::element::f32 ? name : name + "-" + precision.get_type_name();
    }

    static Pool<Lane> make_lanes(ov::CompiledModel& compiled, std::size_t count) {
        std::vector<std::unique_ptr<Lane>> lanes;
        for (std::size_t i = 0; i < count; ++i) {
            lanes.push_back(std::make_unique<Lane>(Lane{compiled.create_infer_request(), {}}));
        }
        return Pool<Lane>(std::move(lanes));
    }

    /// The caller's memory where the types are alike.
    [[nodiscard]] ov::Tensor fed(const Tensor& input) const {
        const ov::element::Type type = input_.get_element_type();
        if (const auto* bytes = std::get_if<std::vector<std::uint8_t>>(&input.values)) {
            return {type, input.shape, bytes->data()};
        }
        if (type == ov::element::f16) {
            return narrowed(input, type, to_half);
        }
        if (type == ov::element::bf16) {
            return narrowed(input, type, to_bfloat16);
        }
        return {type, input.shape, std::get<std::vector<float>>(input.values).data()};
    }

    [[nodiscard]] Answer read(Lane& lane) const {
        const ov::Tensor tensor = lane.request.get_tensor(output_);
        const ov::element::Type type = tensor.get_element_type();
        Answer answer{tensor.get_shape(), nullptr, nullptr, nullptr};
        if (type == ov::element::u8) {
            answer.bytes = tensor.data<const std::uint8_t>();
        } else if (type == ov::element::f32) {
            answer.floats = tensor.data<const float>();
        } else if (type == ov::element::f16 || type == ov::element::bf16) {
            lane.widened = type == ov::element::f16 ? widened<ov::float16>(tensor)
                                                    : widened<ov::bfloat16>(tensor);
            answer.floats = lane.widened.data();
        } else {
            throw RunnerError("the graph returns " + type.get_type_name(),
                              "export it again: float32, float16, bfloat16 and uint8 are read");
        }
        return answer;
    }

    ov::CompiledModel compiled_;
    ov::Output<const ov::Node> input_;
    ov::Output<const ov::Node> output_;
    Pool<Lane> lanes_;
    std::string name_;
};

ov::AnyMap config_for(const SessionOptions& options) {
    const std::size_t cores = options.threads == 0 ? usable_cores() : options.threads;
    ov::AnyMap config{
        ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
        ov::inference_num_threads(static_cast<std::int32_t>(cores)),
    };
    if (options.parallel > 1) {
        config.insert(ov::num_streams(static_cast<std::int32_t>(options.parallel)));
    }
    if (options.inference_precision == InferencePrecision::F32) {
        config.insert(ov::hint::inference_precision(ov::element::f32));
    }
    return config;
}

}  // namespace

std::unique_ptr<Backend> open_openvino(const Artefact& artefact,
                                       const SessionOptions& options) {
    try {
        ov::Core core;
        const auto model = core.read_model(artefact.path);
        ov::AnyMap config = config_for(options);
        keep_from_overflowing(core, *model, config);
        return std::make_unique<OpenVino>(core.compile_model(model, device, config),
                                          artefact.manifest, options);
    } catch (const ov::Exception& error) {
        throw RunnerError(
            "OpenVINO cannot load " + artefact.path.string() + ": " + reason(error),
            "update OpenVINO, or run the graph in onnxruntime, from Python");
    }
}

}  // namespace hrvit

/// Plans in TensorRT 10 and 11, or in TensorRT for RTX, whose API is the same; which of them
/// is linked, its headers tell.
#include <NvInferRuntime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "backends/backend.hpp"
#include "backends/cuda.hpp"
#include "backends/plan_fit.hpp"
#include "backends/tensorrt_log.hpp"
#include "hrvit/error.hpp"
#include "pool.hpp"

namespace hrvit {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;

#ifdef TRT_MAJOR_RTX
constexpr auto backend_name = "tensorrt-rtx";
#else
constexpr auto backend_name = "tensorrt";
#endif

constexpr auto rebuild = "build the plan again on this machine with hrvit-deploy build-trt";

RunnerError failed(const std::string& what, const tensorrt::Listener& listener) {
    return {what + ": " + listener.errors(), rebuild};
}

Library linked() {
    const auto part = [](int number) { return "." + std::to_string(number); };
    return {backend_name,
            std::to_string(getInferLibMajorVersion()) + part(getInferLibMinorVersion()) +
                part(getInferLibPatchVersion()) + part(getInferLibBuildVersion())};
}

Dims dims_of(const Shape& shape) {
    Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(shape.size());
    for (std::size_t i = 0; i < shape.size(); ++i) {
        // Its elements are 32 bits wide in some versions and 64 in others.
        dims.d[i] = static_cast<std::remove_reference_t<decltype(dims.d[0])>>(shape[i]);
    }
    return dims;
}

/// RunnerError if a dimension is still open.
Shape shape_of(const Dims& dims, const std::string& name) {
    Shape shape;
    for (std::int32_t i = 0; i < dims.nbDims; ++i) {
        if (dims.d[i] < 0) {
            throw RunnerError("the shape of " + name + " does not follow from the input's",
                              rebuild);
        }
        shape.push_back(static_cast<std::size_t>(dims.d[i]));
    }
    return shape;
}

std::size_t bytes_of(DataType type, const std::string& name) {
    switch (type) {
        case DataType::kFLOAT:
            return 4;
        case DataType::kHALF:
        case DataType::kBF16:
            return 2;
        case DataType::kUINT8:
            return 1;
        default:
            throw RunnerError(name + " is of a type that is not read here",
                              "build a plan with float32, float16, bfloat16 or uint8 tensors");
    }
}

/// An input or output and its memory, large enough for the largest batch.
struct Slot {
    std::string name;
    DataType type;
    std::size_t element_bytes;
    cuda::DeviceMemory device;
    cuda::PinnedMemory pinned;

    Slot(std::string of_name, DataType of_type, const Shape& largest)
        : name(std::move(of_name)),
          type(of_type),
          element_bytes(bytes_of(type, name)),
          device(cuda::allocate_device(count_of(largest) * element_bytes)),
          pinned(cuda::allocate_pinned(count_of(largest) * element_bytes)) {}

    [[nodiscard]] std::size_t bytes(const Shape& shape) const {
        return count_of(shape) * element_bytes;
    }
};

/// Floats into pinned memory, rounded to even where that is narrower.
void write(const std::vector<float>& values, const Slot& slot) {
    if (slot.type == DataType::kHALF) {
        std::transform(values.begin(), values.end(), static_cast<__half*>(slot.pinned.get()),
                       [](float value) { return __float2half_rn(value); });
    } else if (slot.type == DataType::kBF16) {
        std::transform(values.begin(), values.end(),
                       static_cast<__nv_bfloat16*>(slot.pinned.get()),
                       [](float value) { return __float2bfloat16_rn(value); });
    } else {
        std::memcpy(slot.pinned.get(), values.data(), values.size() * sizeof(float));
    }
}

std::vector<float> widened(const Slot& slot, std::size_t count) {
    std::vector<float> values(count);
    if (slot.type == DataType::kHALF) {
        std::transform(static_cast<const __half*>(slot.pinned.get()),
                       static_cast<const __half*>(slot.pinned.get()) + count, values.begin(),
                       [](__half value) { return __half2float(value); });
    } else {
        std::transform(static_cast<const __nv_bfloat16*>(slot.pinned.get()),
                       static_cast<const __nv_bfloat16*>(slot.pinned.get()) + count,
                       values.begin(),
                       [](__nv_bfloat16 value) { return __bfloat162float(value); });
    }
    return values;
}

/// What runs at once with others: a context, a stream, and memory.
class Lane {
  public:
    Lane(nvinfer1::ICudaEngine& engine, const Manifest& manifest,
         const tensorrt::Listener& listener)
        : context_(engine.createExecutionContext()) {
        if (context_ == nullptr) {
            throw failed("cannot make room to run the plan", listener);
        }
        const auto& input = manifest.input.name;
        const auto& output = manifest.output.name;
        const Dims largest = largest_input(engine, input.c_str());
        if (!context_->setInputShape(input.c_str(), largest)) {
            throw failed("input " + input + " does not take its own profile's largest shape",
                         listener);
        }
        largest_ = shape_of(largest, input);
        input_.emplace(input, engine.getTensorDataType(input.c_str()), largest_);
        output_.emplace(output, engine.getTensorDataType(output.c_str()),
                        shape_of(context_->getTensorShape(output.c_str()), output));
    }

    /// Points into this lane's memory.
    Answer run(const Tensor& input) {
        if (input.shape.front() > largest_.front()) {
            throw RunnerError("a batch of " + std::to_string(input.shape.front()) +
                                  " is more than the " + std::to_string(largest_.front()) +
                                  " the plan takes",
                              "take a smaller batch, or build with a larger --profile");
        }
        const tensorrt::Listener listener;
        feed(input, listener);
        const Shape shape = bind_output(listener);
        if (!context_->enqueueV3(stream_.get())) {
            throw failed("could not run the plan", listener);
        }
        cuda::check(
            cudaMemcpyAsync(output_->pinned.get(), output_->device.get(), output_->bytes(shape),
                            cudaMemcpyDeviceToHost, stream_.get()),
            "copy the answer from the GPU");
        cuda::check(cudaStreamSynchronize(stream_.get()), "finish the work queued");
        return read(shape);
    }

  private:
    static Dims largest_input(nvinfer1::ICudaEngine& engine, const char* name) {
        const Dims dims = engine.getTensorShape(name);
        bool open = false;
        for (std::int32_t i = 0; i < dims.nbDims; ++i) {
            open = open || dims.d[i] < 0;
        }
        return open ? engine.getProfileShape(name, 0, nvinfer1::OptProfileSelector::kMAX)
                    : dims;
    }

    void feed(const Tensor& input, const tensorrt::Listener& listener) {
        if (const auto* bytes = std::get_if<std::vector<std::uint8_t>>(&input.values)) {
            std::memcpy(input_->pinned.get(), bytes->data(), bytes->size());
        } else {
            write(std::get<std::vector<float>>(input.values), *input_);
        }
        cuda::check(
            cudaMemcpyAsync(input_->device.get(), input_->pinned.get(),
                            input_->bytes(input.shape), cudaMemcpyHostToDevice, stream_.get()),
            "copy the input to the GPU");
        const char* name = input_->name.c_str();
        if (!context_->setInputShape(name, dims_of(input.shape)) ||
            !context_->setTensorAddress(name, input_->device.get())) {
            throw failed("input " + input_->name + " was refused", listener);
        }
    }

    /// The shape the plan will write.
    Shape bind_output(const tensorrt::Listener& listener) {
        const char* name = output_->name.c_str();
        if (!context_->setTensorAddress(name, output_->device.get())) {
            throw failed("output " + output_->name + " was refused", listener);
        }
        return shape_of(context_->getTensorShape(name), output_->name);
    }

    Answer read(const Shape& shape) {
        Answer answer{shape, nullptr, nullptr, nullptr};
        if (output_->type == DataType::kUINT8) {
            answer.bytes = static_cast<const std::uint8_t*>(output_->pinned.get());
        } else if (output_->type == DataType::kFLOAT) {
            answer.floats = static_cast<const float*>(output_->pinned.get());
        } else {
            widened_ = widened(*output_, count_of(shape));
            answer.floats = widened_.data();
        }
        return answer;
    }

    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    cuda::Stream stream_ = cuda::create_stream();
    Shape largest_;
    std::optional<Slot> input_;
    std::optional<Slot> output_;
    std::vector<float> widened_;
};

std::vector<char> bytes_in(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
    return bytes;
}

class TensorRt final : public Backend {
  public:
    TensorRt(const Artefact& artefact, const SessionOptions& options)
        : runtime_(nvinfer1::createInferRuntime(tensorrt::logger())),
          lanes_(open(artefact, options)) {}

    [[nodiscard]] Answer run(const Tensor& input) override {
        const auto lane = lanes_.borrow();
        Answer answer = lane->run(input);
        answer.held = lane;
        return answer;
    }

    [[nodiscard]] const std::string& name() const noexcept override { return name_; }

  private:
    Pool<Lane> open(const Artefact& artefact, const SessionOptions& options) {
        const tensorrt::Listener listener;
        if (runtime_ == nullptr) {
            throw failed("TensorRT does not start", listener);
        }
        runtime_->setEngineHostCodeAllowed(options.allow_host_code);
        const auto plan = bytes_in(artefact.path);
        engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
        if (engine_ == nullptr) {
            throw failed("cannot open " + artefact.path.string(), listener);
        }
        check_names(artefact.manifest);
        std::vector<std::unique_ptr<Lane>> lanes;
        for (std::size_t i = 0; i < options.parallel; ++i) {
            lanes.push_back(std::make_unique<Lane>(*engine_, artefact.manifest, listener));
        }
        return Pool<Lane>(std::move(lanes));
    }

    void check_names(const Manifest& manifest) const {
        using Mode = nvinfer1::TensorIOMode;
        const auto mode = [&](const TensorInfo& info) {
            return engine_->getTensorIOMode(info.name.c_str());
        };
        if (engine_->getNbIOTensors() != 2 || mode(manifest.input) != Mode::kINPUT ||
            mode(manifest.output) != Mode::kOUTPUT) {
            throw RunnerError("the plan does not take " + manifest.input.name +
                                  " alone and return " + manifest.output.name + " alone",
                              rebuild);
        }
    }

    std::string name_ = backend_name;
    // Each is freed before what it came from.
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    Pool<Lane> lanes_;
};

}  // namespace

std::unique_ptr<Backend> open_tensorrt(const Artefact& artefact,
                                       const SessionOptions& options) {
    check_opens(artefact, linked(), options.allow_host_code);
    check_gpu(artefact, cuda::first_gpu());
    return std::make_unique<TensorRt>(artefact, options);
}

}  // namespace hrvit

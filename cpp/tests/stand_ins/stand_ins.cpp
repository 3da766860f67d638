/// A GPU that is host memory, and a TensorRT whose plans are a line of text:
///
///     BATCH HEIGHT WIDTH TYPE [broken] [cramped] [refuses] [fails]
///
/// BATCH is -1 where it is dynamic, up to 4 then. TYPE is `float`, `half` or `bf16`, of an
/// engine that doubles the three channels of its `image`; or `uint8`, of one that returns the
/// brightest channel's number.
#include <NvInferRuntime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cassert>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <sstream>
#include <string>

namespace {

using namespace nvinfer1;
using Severity = ILogger::Severity;

constexpr std::int64_t largest_batch = 4;

struct Plan {
    Dims image{};
    DataType type = DataType::kFLOAT;
    std::set<std::string> flags;
};

Plan read_plan(const std::string& text) {
    std::istringstream words{text};
    std::int64_t batch = 0;
    std::int64_t height = 0;
    std::int64_t width = 0;
    std::string type;
    words >> batch >> height >> width >> type;
    Plan plan;
    for (std::string flag; words >> flag;) {
        plan.flags.insert(flag);
    }
    const std::map<std::string, DataType> types{{"float", DataType::kFLOAT},
                                                {"half", DataType::kHALF},
                                                {"bf16", DataType::kBF16},
                                                {"uint8", DataType::kUINT8}};
    plan.type = types.at(type);
    plan.image = plan.type == DataType::kUINT8 ? Dims{4, {batch, height, width, 3}}
                                               : Dims{4, {batch, 3, height, width}};
    return plan;
}

std::int64_t count(const Dims& dims) { return dims.d[0] * dims.d[1] * dims.d[2] * dims.d[3]; }

class Context final : public IExecutionContext {
  public:
    Context(Plan plan, ILogger& logger) : plan_(std::move(plan)), logger_(logger) {
        shape_ = plan_.image;
    }

    bool setInputShape(const char* /*name*/, const Dims& dims) noexcept override {
        shape_ = dims;
        return plan_.flags.count("refuses") == 0;
    }

    bool setTensorAddress(const char* name, void* memory) noexcept override {
        memory_[name] = memory;
        return true;
    }

    Dims getTensorShape(const char* name) const noexcept override {
        if (plan_.type == DataType::kUINT8 && std::strcmp(name, "logits") == 0) {
            return {3, {shape_.d[0], shape_.d[1], shape_.d[2]}};
        }
        return shape_;
    }

    bool enqueueV3(cudaStream_t stream) noexcept override {
        assert(stream != nullptr);
        if (plan_.flags.count("fails") != 0) {
            logger_.log(Severity::kVERBOSE, "chatter");
            logger_.log(Severity::kERROR, "the GPU\n    is on fire");
            return false;
        }
        for (std::int64_t i = 0; i < count(shape_); ++i) {
            answer(i);
        }
        return true;
    }

  private:
    template <typename Value>
    Value* at(const char* name) {
        return static_cast<Value*>(memory_.at(name));
    }

    void answer(std::int64_t i) {
        switch (plan_.type) {
            case DataType::kHALF:
                at<__half>("logits")[i] =
                    __float2half_rn(2 * __half2float(at<__half>("image")[i]));
                break;
            case DataType::kBF16:
                at<__nv_bfloat16>("logits")[i] =
                    __float2bfloat16_rn(2 * __bfloat162float(at<__nv_bfloat16>("image")[i]));
                break;
            case DataType::kUINT8:
                brightest(i);
                break;
            default:
                at<float>("logits")[i] = 2 * at<float>("image")[i];
        }
    }

    void brightest(std::int64_t i) {
        if (i % 3 != 0) {
            return;
        }
        const std::uint8_t* pixel = at<std::uint8_t>("image") + i;
        std::uint8_t best = 0;
        for (std::uint8_t c = 1; c < 3; ++c) {
            best = pixel[c] > pixel[best] ? c : best;
        }
        at<std::uint8_t>("logits")[i / 3] = best;
    }

    Plan plan_;
    ILogger& logger_;
    Dims shape_{};
    std::map<std::string, void*> memory_;
};

class Engine final : public ICudaEngine {
  public:
    Engine(Plan plan, ILogger& logger) : plan_(std::move(plan)), logger_(logger) {}

    IExecutionContext* createExecutionContext() noexcept override {
        return plan_.flags.count("cramped") != 0 ? nullptr : new Context(plan_, logger_);
    }
    std::int32_t getNbIOTensors() const noexcept override { return 2; }
    TensorIOMode getTensorIOMode(const char* name) const noexcept override {
        return std::strcmp(name, "image") == 0    ? TensorIOMode::kINPUT
               : std::strcmp(name, "logits") == 0 ? TensorIOMode::kOUTPUT
                                                  : TensorIOMode::kNONE;
    }
    Dims getTensorShape(const char* /*name*/) const noexcept override { return plan_.image; }
    DataType getTensorDataType(const char* /*name*/) const noexcept override {
        return plan_.type;
    }
    Dims getProfileShape(const char* /*name*/, std::int32_t /*profile*/,
                         OptProfileSelector select) const noexcept override {
        Dims dims = plan_.image;
        dims.d[0] = select == OptProfileSelector::kMAX ? largest_batch : 1;
        return dims;
    }

  private:
    Plan plan_;
    ILogger& logger_;
};

class Runtime final : public IRuntime {
  public:
    explicit Runtime(ILogger& logger) : logger_(logger) {}

    void setEngineHostCodeAllowed(bool /*allowed*/) noexcept override {}
    ICudaEngine* deserializeCudaEngine(const void* plan, std::size_t size) noexcept override {
        Plan read = read_plan(std::string(static_cast<const char*>(plan), size));
        if (read.flags.count("broken") != 0) {
            logger_.log(Severity::kERROR, "magic tag does not match");
            return nullptr;
        }
        return new Engine(std::move(read), logger_);
    }

  private:
    ILogger& logger_;
};

cudaError_t allocate(void** memory, std::size_t bytes) {
    *memory = std::malloc(bytes);
    return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

}  // namespace

namespace nvinfer1 {
IRuntime* createInferRuntime(ILogger& logger) noexcept { return new Runtime(logger); }
}  // namespace nvinfer1

std::int32_t getInferLibMajorVersion() noexcept { return 10; }
std::int32_t getInferLibMinorVersion() noexcept { return 16; }
std::int32_t getInferLibPatchVersion() noexcept { return 1; }
std::int32_t getInferLibBuildVersion() noexcept { return 11; }

struct CUstream_st {};

const char* cudaGetErrorString(cudaError_t status) {
    return status == cudaErrorNoDevice ? "no CUDA-capable device is detected" : "out of memory";
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return std::getenv("STAND_IN_NO_GPU") == nullptr ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int /*device*/) {
    std::strcpy(properties->name, "stand-in GPU");
    properties->major = 8;
    properties->minor = 9;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    if (std::getenv("STAND_IN_FULL_GPU") != nullptr) {
        return cudaErrorMemoryAllocation;
    }
    return allocate(memory, bytes);
}

cudaError_t cudaFree(void* memory) {
    std::free(memory);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) { return allocate(memory, bytes); }

cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
    *stream = new CUstream_st;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t /*stream*/) { return cudaSuccess; }

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes,
                            cudaMemcpyKind /*kind*/, cudaStream_t /*stream*/) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}

// Builds a graph with TensorRT 8.5 and times it as timing.py times every other candidate.
//
//   gpu_trt8 GRAPH.onnx FILE.plan fp32|fp16|int8 IMAGES.bin ANSWER.bin
//
// IMAGES.bin holds the input, float32 in C order; ANSWER.bin is written after the first run.
// Standard output has one line of JSON once it is ready, and one to each line it reads:
//
//   turn SETTLE_S COUNT    {"device_ms": [...], "host_ms": [...], ...}
//
// It ends with its input. What goes wrong is one line of {"error": ...}. Nodes whose names
// hold "/float32/" stay in float32 whatever the rest is built in.

#include <NvInfer.h>
#include <NvOnnxParser.h>
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Series = std::vector<double>;

std::string const kFloat32 = "/float32/";

double milliseconds(Clock::time_point from) {
    return std::chrono::duration<double, std::milli>(Clock::now() - from).count();
}

// Text as a JSON string.
std::string quoted(std::string const& text) {
    std::ostringstream out;
    out << '"';
    for (char const c : text) {
        if (c == '"' || c == '\\') {
            out << '\\' << c;
        } else {
            out << (static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
        }
    }
    out << '"';
    return out.str();
}

// Keeps what the library says, to repeat it where a call fails.
class Recorder : public nvinfer1::ILogger {
public:
    void log(Severity severity, char const* message) noexcept override {
        if (severity > Severity::kWARNING) {
            return;
        }
        std::fprintf(stderr, "%s\n", message);
        last_ = message;
        if (severity < Severity::kWARNING) {
            errors_ += errors_.empty() ? message : std::string("; ") + message;
        }
    }

    // Its errors; without one its last warning, which is how it speaks of an absent driver.
    std::string words() const {
        if (!errors_.empty()) {
            return errors_;
        }
        return last_.empty() ? "it gave no reason" : last_;
    }

private:
    std::string errors_;
    std::string last_;
};

Recorder recorder;

[[noreturn]] void fail(std::string const& what) {
    throw std::runtime_error("TensorRT 8.5 " + what + ": " + recorder.words());
}

void check(cudaError_t status, char const* what) {
    if (status != cudaSuccess) {
        throw std::runtime_error(std::string("CUDA could not ") + what + ": "
                                 + cudaGetErrorString(status));
    }
}

template <typename T>
std::unique_ptr<T> required(T* made, char const* what) {
    if (made == nullptr) {
        fail(what);
    }
    return std::unique_ptr<T>(made);
}

// Memory on the device, or pinned on the host.
class Buffer {
public:
    enum class Place { device, host };

    Buffer(std::size_t bytes, Place place) : bytes_(bytes), place_(place) {
        check(place == Place::device ? cudaMalloc(&data_, bytes) : cudaMallocHost(&data_, bytes),
              "allocate memory");
    }
    ~Buffer() {
        if (place_ == Place::device) {
            cudaFree(data_);
        } else {
            cudaFreeHost(data_);
        }
    }
    Buffer(Buffer const&) = delete;
    Buffer& operator=(Buffer const&) = delete;

    void* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }

private:
    void* data_ = nullptr;
    std::size_t bytes_;
    Place place_;
};

class Event {
public:
    Event() { check(cudaEventCreate(&event_), "create an event"); }
    ~Event() { cudaEventDestroy(event_); }
    Event(Event const&) = delete;
    Event& operator=(Event const&) = delete;

    void record(cudaStream_t stream) const {
        check(cudaEventRecord(event_, stream), "record an event");
    }
    double since(Event const& earlier) const {
        float elapsed_ms = 0;
        check(cudaEventElapsedTime(&elapsed_ms, earlier.event_, event_), "read an event");
        return elapsed_ms;
    }

private:
    cudaEvent_t event_ = nullptr;
};

class Stream {
public:
    Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream"); }
    ~Stream() { cudaStreamDestroy(stream_); }
    Stream(Stream const&) = delete;
    Stream& operator=(Stream const&) = delete;

    cudaStream_t get() const { return stream_; }
    void wait() const { check(cudaStreamSynchronize(stream_), "finish the work queued"); }

private:
    cudaStream_t stream_ = nullptr;
};

std::vector<char> read(std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        return {};
    }
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write(std::string const& path, void const* data, std::size_t bytes) {
    std::string const staged = path + ".part";
    {
        std::ofstream file(staged, std::ios::binary);
        file.write(static_cast<char const*>(data), static_cast<std::streamsize>(bytes));
        if (!file) {
            throw std::runtime_error("cannot write " + staged);
        }
    }
    if (std::rename(staged.c_str(), path.c_str()) != 0) {
        throw std::runtime_error("cannot write " + path);
    }
}

// Norms sum squares, which leave float16's range: they keep their type.
int keep_float32(nvinfer1::INetworkDefinition& network) {
    int kept = 0;
    for (int i = 0; i < network.getNbLayers(); ++i) {
        nvinfer1::ILayer& layer = *network.getLayer(i);
        bool const computes = layer.getType() == nvinfer1::LayerType::kREDUCE
            || layer.getType() == nvinfer1::LayerType::kELEMENTWISE
            || layer.getType() == nvinfer1::LayerType::kUNARY;
        if (computes && std::string(layer.getName()).find(kFloat32) != std::string::npos) {
            layer.setPrecision(nvinfer1::DataType::kFLOAT);
            ++kept;
        }
    }
    return kept;
}

struct Built {
    std::vector<char> plan;
    int layers = 0;
    int kept = 0;
    double build_s = 0;
};

Built build(std::string const& graph, std::string const& precision) {
    using nvinfer1::BuilderFlag;
    auto const begun = Clock::now();
    auto builder = required(nvinfer1::createInferBuilder(recorder), "made no builder");
    auto const batch = 1U << static_cast<std::uint32_t>(
        nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
    auto network = required(builder->createNetworkV2(batch), "made no network");
    auto parser = required(nvonnxparser::createParser(*network, recorder), "made no parser");
    auto const loud = static_cast<int>(nvinfer1::ILogger::Severity::kWARNING);
    if (!parser->parseFromFile(graph.c_str(), loud)) {
        if (parser->getNbErrors() > 0) {
            throw std::runtime_error(
                std::string("TensorRT 8.5 cannot read the graph: ") + parser->getError(0)->desc());
        }
        fail("cannot read the graph");
    }
    auto config = required(builder->createBuilderConfig(), "made no configuration");
    // Float32 is float32: TF32 is on unless told otherwise.
    config->clearFlag(BuilderFlag::kTF32);
    Built built;
    built.layers = network->getNbLayers();
    if (precision != "fp32") {
        config->setFlag(BuilderFlag::kFP16);
        config->setFlag(BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
        built.kept = keep_float32(*network);
    }
    if (precision == "int8") {
        config->setFlag(BuilderFlag::kINT8);
    }
    // cuBLAS and cuDNN of CUDA 11 need not be there: TensorRT has kernels of its own.
    auto const source = [](nvinfer1::TacticSource tactic) {
        return 1U << static_cast<std::uint32_t>(tactic);
    };
    config->setTacticSources(source(nvinfer1::TacticSource::kEDGE_MASK_CONVOLUTIONS)
                             | source(nvinfer1::TacticSource::kJIT_CONVOLUTIONS));
    auto plan = required(builder->buildSerializedNetwork(*network, *config), "built no plan");
    auto const* data = static_cast<char const*>(plan->data());
    built.plan.assign(data, data + plan->size());
    built.build_s = milliseconds(begun) / 1000;
    return built;
}

std::size_t bytes_of(nvinfer1::ICudaEngine const& engine, char const* name) {
    if (engine.getTensorDataType(name) != nvinfer1::DataType::kFLOAT) {
        throw std::runtime_error(std::string(name) + " is not float32");
    }
    nvinfer1::Dims const shape = engine.getTensorShape(name);
    std::size_t count = 1;
    for (int i = 0; i < shape.nbDims; ++i) {
        count *= static_cast<std::size_t>(shape.d[i]);
    }
    return count * sizeof(float);
}

// A plan with its buffers, run in a stream of its own.
class Runner {
public:
    explicit Runner(std::vector<char> const& plan)
        : runtime_(required(nvinfer1::createInferRuntime(recorder), "made no runtime")),
          engine_(required(runtime_->deserializeCudaEngine(plan.data(), plan.size()),
                           "could not deserialise the plan")),
          context_(required(engine_->createExecutionContext(), "made no room to run the plan")) {
        for (int i = 0; i < engine_->getNbIOTensors(); ++i) {
            char const* name = engine_->getIOTensorName(i);
            bool const input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
            std::size_t const bytes = bytes_of(*engine_, name);
            auto& device = input ? image_ : answer_;
            auto& host = input ? given_ : taken_;
            if (device) {
                throw std::runtime_error("the graph has more than one input or output");
            }
            device = std::make_unique<Buffer>(bytes, Buffer::Place::device);
            host = std::make_unique<Buffer>(bytes, Buffer::Place::host);
            if (!context_->setTensorAddress(name, device->data())) {
                fail(std::string("refused the address of ") + name);
            }
        }
        if (!image_ || !answer_) {
            throw std::runtime_error("the graph lacks an input or an output");
        }
    }

    void give(std::vector<char> const& images) {
        if (images.size() != given_->bytes()) {
            throw std::runtime_error("the images hold " + std::to_string(images.size())
                                     + " bytes, the graph takes "
                                     + std::to_string(given_->bytes()));
        }
        std::copy(images.begin(), images.end(), static_cast<char*>(given_->data()));
        copy_in();
        stream_.wait();
    }

    void launch() {
        if (!context_->enqueueV3(stream_.get())) {
            fail("could not run the plan");
        }
    }

    void run_once() {
        launch();
        stream_.wait();
    }

    void copy_in() {
        check(cudaMemcpyAsync(image_->data(), given_->data(), given_->bytes(),
                              cudaMemcpyHostToDevice, stream_.get()),
              "copy the images");
    }

    void copy_out() {
        check(cudaMemcpyAsync(taken_->data(), answer_->data(), taken_->bytes(),
                              cudaMemcpyDeviceToHost, stream_.get()),
              "copy the answer");
    }

    void save_answer(std::string const& path) {
        copy_out();
        stream_.wait();
        write(path, taken_->data(), taken_->bytes());
    }

    // So many runs of some work: by the device's clock and by the host's.
    std::pair<Series, Series> time(std::function<void()> const& work, int count) {
        Event const first, last;
        Series device, host;
        for (int i = 0; i < count; ++i) {
            auto const begun = Clock::now();
            first.record(stream_.get());
            work();
            last.record(stream_.get());
            stream_.wait();
            host.push_back(milliseconds(begun));
            device.push_back(last.since(first));
        }
        return {device, host};
    }

private:
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Stream stream_;
    std::unique_ptr<Buffer> image_, answer_, given_, taken_;
};

std::string listed(Series const& numbers) {
    std::ostringstream out;
    out << '[';
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        out << (i == 0 ? "" : ", ") << numbers[i];
    }
    out << ']';
    return out.str();
}

std::string turn(Runner& runner, double settle_s, int count) {
    auto const begun = Clock::now();
    do {
        runner.run_once();
    } while (milliseconds(begun) < settle_s * 1000);
    auto const [device, host] = runner.time([&] { runner.launch(); }, count);
    auto const [device_copies, host_copies] = runner.time(
        [&] {
            runner.copy_in();
            runner.launch();
            runner.copy_out();
        },
        count);
    return "{\"device_ms\": " + listed(device) + ", \"host_ms\": " + listed(host)
        + ", \"device_copies_ms\": " + listed(device_copies)
        + ", \"host_copies_ms\": " + listed(host_copies) + "}";
}

std::string version() {
    int const number = getInferLibVersion();
    return std::to_string(number / 1000) + "." + std::to_string(number / 100 % 10) + "."
        + std::to_string(number % 100);
}

void serve(std::vector<std::string> const& arguments) {
    std::string const &graph = arguments[0], &path = arguments[1], &precision = arguments[2];
    Built built;
    built.plan = read(path);
    bool const held = !built.plan.empty();
    if (!held) {
        built = build(graph, precision);
        write(path, built.plan.data(), built.plan.size());
    }
    Runner runner(built.plan);
    runner.give(read(arguments[3]));
    auto const begun = Clock::now();
    runner.run_once();
    double const first_run_s = milliseconds(begun) / 1000;
    runner.save_answer(arguments[4]);
    std::cout << "{\"version\": " << quoted(version()) << ", \"built\": "
              << quoted(held ? "before" : "now") << ", \"build_s\": " << built.build_s
              << ", \"layers\": " << built.layers << ", \"kept_float32\": " << built.kept
              << ", \"plan_bytes\": " << built.plan.size() << ", \"first_run_s\": " << first_run_s
              << "}" << std::endl;
    std::string word;
    double settle_s = 0;
    int count = 0;
    while (std::cin >> word >> settle_s >> count) {
        std::cout << turn(runner, settle_s, count) << std::endl;
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 6) {
        std::cerr << "usage: gpu_trt8 GRAPH.onnx FILE.plan fp32|fp16|int8 IMAGES.bin ANSWER.bin\n";
        return 2;
    }
    try {
        serve(std::vector<std::string>(arguments + 1, arguments + count));
    } catch (std::exception const& error) {
        std::cout << "{\"error\": " << quoted(error.what()) << "}" << std::endl;
        return 1;
    }
    return 0;
}

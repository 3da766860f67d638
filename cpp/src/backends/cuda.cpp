#include "backends/cuda.hpp"

#include <algorithm>

#include "hrvit/error.hpp"

namespace hrvit::cuda {
namespace {

std::string hint(cudaError_t status) {
    switch (status) {
        case cudaErrorInsufficientDriver:
        case cudaErrorNoDevice:
            return "run on a machine with an NVIDIA GPU and a driver for this CUDA";
        case cudaErrorMemoryAllocation:
            return "free GPU memory, or take fewer runs at once or a smaller batch";
        default:
            return "run again with CUDA_LAUNCH_BLOCKING=1 to see which call fails";
    }
}

}  // namespace

void check(cudaError_t status, const std::string& task) {
    if (status != cudaSuccess) {
        throw RunnerError("CUDA could not " + task + ": " + cudaGetErrorString(status),
                          hint(status));
    }
}

Gpu first_gpu() {
    int count = 0;
    check(cudaGetDeviceCount(&count), "count GPUs");
    if (count == 0) {
        throw RunnerError("the NVIDIA driver finds no GPU", "make one visible to this process");
    }
    cudaDeviceProp found{};
    check(cudaGetDeviceProperties(&found, 0), "read the GPU's properties");
    return {&found.name[0], std::to_string(found.major) + "." + std::to_string(found.minor)};
}

DeviceMemory allocate_device(std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)),
          "allocate " + std::to_string(bytes) + " bytes on the GPU");
    return DeviceMemory(memory);
}

PinnedMemory allocate_pinned(std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMallocHost(&memory, std::max<std::size_t>(bytes, 1)),
          "pin " + std::to_string(bytes) + " bytes of host memory");
    return PinnedMemory(memory);
}

Stream create_stream() {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreate(&stream), "create a stream");
    return Stream(stream);
}

}  // namespace hrvit::cuda

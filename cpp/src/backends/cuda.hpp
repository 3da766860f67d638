/// The CUDA runtime, each call checked, each resource owned.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>

#include "backends/plan_fit.hpp"

namespace hrvit::cuda {

/// Throws RunnerError if the status is not success.
void check(cudaError_t status, const std::string& task);

/// Name and compute capability of the first GPU; RunnerError where there is none.
[[nodiscard]] Gpu first_gpu();

struct FreeDevice {
    void operator()(void* memory) const noexcept { static_cast<void>(cudaFree(memory)); }
};

struct FreePinned {
    void operator()(void* memory) const noexcept { static_cast<void>(cudaFreeHost(memory)); }
};

struct DestroyStream {
    void operator()(cudaStream_t stream) const noexcept {
        static_cast<void>(cudaStreamDestroy(stream));
    }
};

using DeviceMemory = std::unique_ptr<void, FreeDevice>;
/// Host memory that copies need not stage.
using PinnedMemory = std::unique_ptr<void, FreePinned>;
using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, DestroyStream>;

[[nodiscard]] DeviceMemory allocate_device(std::size_t bytes);
[[nodiscard]] PinnedMemory allocate_pinned(std::size_t bytes);
[[nodiscard]] Stream create_stream();

}  // namespace hrvit::cuda

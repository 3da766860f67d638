/// The one face of everything that can run a network.
#pragma once

#include <memory>
#include <string>

#include "hrvit/manifest.hpp"
#include "hrvit/session.hpp"
#include "hrvit/tensor.hpp"

namespace hrvit {

/// What a run returned: valid as long as `held` is, which keeps the run's memory from the
/// next one. Either pointer is null.
struct Answer {
    Shape shape;
    const float* floats = nullptr;
    const std::uint8_t* bytes = nullptr;
    std::shared_ptr<const void> held;
};

/// Opens where it is made; threads may share it.
class Backend {
  public:
    Backend() = default;
    virtual ~Backend() = default;
    Backend(const Backend&) = delete;
    Backend& operator=(const Backend&) = delete;
    Backend(Backend&&) = delete;
    Backend& operator=(Backend&&) = delete;

    /// One batch through the network; the input is as the sidecar says.
    ///
    /// Throws RunnerError: the library or the device failed.
    [[nodiscard]] virtual Answer run(const Tensor& input) = 0;

    /// What it is called, such as `openvino-cpu`.
    [[nodiscard]] virtual const std::string& name() const noexcept = 0;
};

/// The backend for that kind of artefact, if this build has it.
///
/// Throws MissingDependency: it has not; ArtefactError, RunnerError: it cannot be opened.
[[nodiscard]] std::unique_ptr<Backend> open_backend(const Artefact& artefact,
                                                    const SessionOptions& options);

[[nodiscard]] std::unique_ptr<Backend> open_openvino(const Artefact& artefact,
                                                     const SessionOptions& options);

[[nodiscard]] std::unique_ptr<Backend> open_tensorrt(const Artefact& artefact,
                                                     const SessionOptions& options);

}  // namespace hrvit

/// START HERE: an artefact, opened to be asked about images.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "hrvit/classes.hpp"
#include "hrvit/error.hpp"
#include "hrvit/image.hpp"
#include "hrvit/manifest.hpp"
#include "hrvit/tensor.hpp"

namespace hrvit {

/// How an image of any size meets the one size a network takes: stretched to it, or with
/// its aspect kept and the bottom or the right filled up.
enum class Fit { Stretch, Pad };

/// What OpenVINO computes floating products in: float32, or as the device likes best.
enum class InferencePrecision { F32, Device };

struct SessionOptions {
    /// Runs at once; each has memory of its own. Further callers wait for one to end.
    std::size_t parallel = 1;
    /// Cores for all runs together (CPU only); 0 for every one this process may use.
    std::size_t threads = 0;
    /// Images per run of an artefact whose batch is dynamic; 0 for its usual one.
    std::size_t batch = 0;
    Fit fit = Fit::Stretch;
    InferencePrecision inference_precision = InferencePrecision::F32;
    /// Run the code that a version compatible plan carries; only for plans you trust.
    bool allow_host_code = false;
};

/// Open from construction to destruction. Threads may share it.
class Session {
  public:
    /// Check the artefact, then open it in the backend for its kind.
    ///
    /// Throws ArtefactError: file, sidecar, TensorRT version or GPU do not fit;
    /// MissingDependency: this build has no such backend; RunnerError: it cannot be opened;
    /// UsageError: the options contradict it.
    explicit Session(const std::filesystem::path& model, const SessionOptions& options = {});

    ~Session();
    Session(Session&& other) noexcept;
    Session& operator=(Session&& other) noexcept;
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    /// The class of each pixel, at the image's own size.
    ///
    /// Throws InputError: the view is empty; RunnerError: the run failed; UsageError: the
    /// network classifies.
    [[nodiscard]] LabelMap segment(const ImageView& image) const;
    /// The same of several, `batch()` to a run.
    [[nodiscard]] std::vector<LabelMap> segment(const std::vector<ImageView>& images) const;

    /// The probability of each class; throws as `segment` does.
    [[nodiscard]] std::vector<float> classify(const ImageView& image) const;
    [[nodiscard]] std::vector<std::vector<float>> classify(
        const std::vector<ImageView>& images) const;

    /// One batch as the network takes it, and what it returns: the raw road.
    ///
    /// Throws RunnerError: type or shape is not the sidecar's, a value is not finite, or
    /// the run failed.
    [[nodiscard]] Tensor run(const Tensor& input) const;

    [[nodiscard]] const Manifest& manifest() const noexcept;
    [[nodiscard]] const ClassSet& classes() const noexcept;
    /// Images per run.
    [[nodiscard]] std::size_t batch() const noexcept;
    /// What runs it, such as `openvino-cpu`.
    [[nodiscard]] const std::string& name() const noexcept;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace hrvit

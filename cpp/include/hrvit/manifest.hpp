/// What a sidecar says, as far as running an artefact needs it. See docs/reference/artefacts.md.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hrvit/image.hpp"

namespace hrvit {

enum class Kind { Onnx, Plan };
enum class Task { Classify, Segment };
enum class InputFormat { FloatNchw, Uint8Nhwc };
enum class OutputFormat { Logits, Probabilities, Classmap, LogitsQuarter };

/// An input or output; `batch` is the first dimension, without a value where it is dynamic.
struct TensorInfo {
    std::string name;
    std::optional<std::size_t> batch;
    /// The other dimensions.
    std::vector<std::size_t> rest;
    /// As NumPy calls it.
    std::string dtype;
};

/// How an RGB image becomes the input: resize, normalise, lay out.
struct Preparation {
    ImageSize size;
    InputFormat format = InputFormat::FloatNchw;
    /// Per channel, on a 0..255 scale.
    std::array<float, 3> mean{};
    std::array<float, 3> std{};
};

/// What a plan was built by and for.
struct Engine {
    /// `tensorrt` or `tensorrt-rtx`.
    std::string backend;
    std::string version;
    /// GPUs it runs on; `12.0+` means that one and later.
    std::vector<std::string> compute_capabilities;
    bool weights_stripped = false;
    bool version_compatible = false;
};

struct Manifest {
    Kind kind = Kind::Onnx;
    std::string sha256;
    /// Empty for another network than HRViT.
    std::string variant;
    /// `HRViT-b1`, or the name of another network.
    std::string title;
    Task task = Task::Segment;
    std::size_t num_classes = 0;
    /// Empty where the checkpoint named none.
    std::vector<std::string> class_names;
    std::string precision;
    OutputFormat output_format = OutputFormat::Logits;
    TensorInfo input;
    TensorInfo output;
    Preparation preparation;
    /// Of plans alone.
    std::optional<Engine> engine;
    /// Images a run suits best, of plans with a dynamic batch.
    std::optional<std::size_t> usual_batch;
    /// Files that hold the weights of a large graph, and their SHA-256.
    std::map<std::string, std::string> external_data;
};

/// A file and what its sidecar says.
struct Artefact {
    std::filesystem::path path;
    Manifest manifest;
};

/// Read an artefact's sidecar and check that the file is the one it speaks of.
///
/// Throws ArtefactError: file or sidecar is missing, broken, of another schema, or the
/// file's SHA-256 is not the recorded one.
[[nodiscard]] Artefact open_artefact(const std::filesystem::path& path);

}  // namespace hrvit

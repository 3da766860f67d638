#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hrvit/session.hpp"

namespace infer {

/// What hrvit_infer was told.
struct Arguments {
    std::filesystem::path model;
    std::vector<std::filesystem::path> images;
    std::filesystem::path out = "predictions";
    std::size_t repeat = 10;
    hrvit::SessionOptions session;
};

constexpr auto usage =
    R"(usage: hrvit_infer MODEL IMAGE... [options]

Runs MODEL (.onnx or .plan, its .json beside it) on JPEG and PNG images. A segmenter's
answers are drawn into NAME-overlay.png and written to NAME-labels.png, whose values are
class indices; a classifier's five likeliest classes are printed.

  --out DIR         where pictures go (predictions)
  --repeat N        times each image is answered, for the latency (10)
  --threads N       cores for all runs together, on a CPU (all that may be used)
  --parallel N      runs at once, each asked for by a thread of its own (1)
  --fit FIT         stretch or pad (stretch)
  --precision P     what OpenVINO computes in: f32, or device for its own choice (f32)
  --allow-code      run the code that a version compatible plan carries
  -h, --help        this text

Exits 0 if every image was answered, 1 if one was not, 2 if the command line is wrong.
)";

/// Nothing where only help was asked for; hrvit::UsageError if they cannot be meant.
[[nodiscard]] std::optional<Arguments> parse(const std::vector<std::string>& words);

}  // namespace infer

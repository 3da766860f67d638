/// What hrvit_infer prints.
#pragma once

#include <string>
#include <vector>

#include "hrvit/session.hpp"

namespace infer {

/// `road 62.1 %, sky 30.0 %`.
[[nodiscard]] std::string listed(const std::vector<std::pair<std::string, double>>& shares);

/// The five likeliest classes and their probabilities.
[[nodiscard]] std::vector<std::pair<std::string, double>> likeliest(
    const std::vector<float>& probabilities, const hrvit::ClassSet& classes);

/// `p50 12.3 ms, p90 13.0 ms, p99 15.2 ms`; percentiles lie between neighbours as NumPy's do.
[[nodiscard]] std::string percentiles(std::vector<double> latencies_ms);

/// `HRViT-b1 to segment 11 classes, fp32, in openvino-cpu`.
[[nodiscard]] std::string described(const hrvit::Session& session);

}  // namespace infer

#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <numeric>
#include <sstream>

namespace infer {
namespace {

constexpr std::size_t top = 5;

std::string fixed(double value, int digits) {
    std::ostringstream text;
    text << std::fixed << std::setprecision(digits) << value;
    return text.str();
}

double percentile(const std::vector<double>& sorted, double percent) {
    const double place = static_cast<double>(sorted.size() - 1) * percent / 100;
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] +
           ((sorted[above] - sorted[below]) * (place - static_cast<double>(below)));
}

}  // namespace

std::string listed(const std::vector<std::pair<std::string, double>>& shares) {
    std::string text;
    for (const auto& [name, share] : shares) {
        // What would round to nothing is there all the same.
        const std::string percent = share < 0.0005 ? "<0.1" : fixed(share * 100, 1);
        text.append(text.empty() ? "" : ", ").append(name).append(" ").append(percent);
        text += " %";
    }
    return text;
}

std::vector<std::pair<std::string, double>> likeliest(const std::vector<float>& probabilities,
                                                      const hrvit::ClassSet& classes) {
    std::vector<std::size_t> order(probabilities.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return probabilities[a] > probabilities[b];
    });
    order.resize(std::min(order.size(), top));
    std::vector<std::pair<std::string, double>> found;
    found.reserve(order.size());
    for (const std::size_t index : order) {
        found.emplace_back(classes.at(index).name, probabilities[index]);
    }
    return found;
}

std::string percentiles(std::vector<double> latencies_ms) {
    std::sort(latencies_ms.begin(), latencies_ms.end());
    std::string text;
    for (const int percent : {50, 90, 99}) {
        text += (text.empty() ? "p" : ", p") + std::to_string(percent) + " " +
                fixed(percentile(latencies_ms, percent), 2) + " ms";
    }
    return text;
}

std::string described(const hrvit::Session& session) {
    const hrvit::Manifest& manifest = session.manifest();
    const bool segments = manifest.task == hrvit::Task::Segment;
    return manifest.title + " to " + (segments ? "segment " : "classify ") +
           std::to_string(manifest.num_classes) + " classes, " + manifest.precision + ", in " +
           session.name();
}

}  // namespace infer

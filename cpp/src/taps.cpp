#include "taps.hpp"

#include <algorithm>
#include <cmath>

namespace hrvit {
namespace {

double centre(std::size_t index, std::size_t before, std::size_t after) {
    return (static_cast<double>(index) + 0.5) * static_cast<double>(before) /
           static_cast<double>(after);
}

}  // namespace

Taps Taps::bilinear(std::size_t before, std::size_t after) {
    Taps taps;
    const auto last = static_cast<double>(before - 1);
    for (std::size_t i = 0; i < after; ++i) {
        const double place = std::clamp(centre(i, before, after) - 0.5, 0.0, last);
        const double floor = std::floor(place);
        const auto left = static_cast<std::size_t>(floor);
        taps.left.push_back(left);
        taps.right.push_back(std::min(left + 1, before - 1));
        taps.share.push_back(static_cast<float>(place - floor));
        taps.mixes = taps.mixes || place != floor;
    }
    return taps;
}

Taps Taps::nearest(std::size_t before, std::size_t after) {
    Taps taps;
    for (std::size_t i = 0; i < after; ++i) {
        const auto left = static_cast<std::size_t>(std::floor(centre(i, before, after)));
        taps.left.push_back(std::min(left, before - 1));
    }
    taps.right = taps.left;
    taps.share.assign(after, 0.0F);
    return taps;
}

}  // namespace hrvit

#pragma once

#include <cstddef>
#include <vector>

namespace hrvit {

/// Which old samples each new one of an axis is mixed from; the same as
/// `hrvit_deploy.standalone.resample.Taps`.
struct Taps {
    std::vector<std::size_t> left;
    std::vector<std::size_t> right;
    /// How much of the right one.
    std::vector<float> share;
    /// Whether any new sample is mixed at all.
    bool mixes = false;

    /// Pixel centres at halves, edges held: PyTorch's `align_corners=False`.
    [[nodiscard]] static Taps bilinear(std::size_t before, std::size_t after);
    /// The old sample that each new one's centre lies in.
    [[nodiscard]] static Taps nearest(std::size_t before, std::size_t after);
};

}  // namespace hrvit

/// Pillow's way (its src/libImaging/Resample.c): weights in fixed point, and each pass
/// rounded to bytes. Any other order of these steps is off by a grey level here and there.
#include "resize.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace hrvit {
namespace {

constexpr std::size_t channels = 3;
// Eight bits are the sample's; two keep the sum of weighted samples from overflowing.
constexpr unsigned precision_bits = 32U - 8U - 2U;
constexpr std::int32_t half = std::int32_t{1} << (precision_bits - 1U);

/// Which old samples a new one is mixed from, and in what shares.
struct Mix {
    std::size_t first = 0;
    std::vector<std::int32_t> weights;
};

std::int32_t fixed(double weight) {
    return static_cast<std::int32_t>(std::floor(0.5 + (weight * (1U << precision_bits))));
}

Mix mix_at(double center, double support, std::size_t before) {
    const auto first =
        static_cast<std::size_t>(std::max(std::floor(center - support + 0.5), 0.0));
    const auto end = static_cast<std::size_t>(std::floor(center + support + 0.5));
    const std::size_t last = std::min(end, before);
    std::vector<double> shares;
    double sum = 0;
    for (std::size_t i = first; i < last; ++i) {
        const double distance =
            std::abs((static_cast<double>(i) - center + 0.5) * (1.0 / support));
        shares.push_back(distance < 1.0 ? 1.0 - distance : 0.0);
        sum += shares.back();
    }
    Mix mix{first, {}};
    for (const double share : shares) {
        mix.weights.push_back(fixed(share / sum));
    }
    return mix;
}

std::vector<Mix> mixes(std::size_t before, std::size_t after) {
    const double scale = static_cast<double>(before) / static_cast<double>(after);
    const double support = std::max(scale, 1.0);
    std::vector<Mix> found;
    found.reserve(after);
    for (std::size_t i = 0; i < after; ++i) {
        found.push_back(mix_at((static_cast<double>(i) + 0.5) * scale, support, before));
    }
    return found;
}

std::uint8_t to_byte(std::int32_t sum) {
    return static_cast<std::uint8_t>(std::clamp(sum >> precision_bits, 0, 255));
}

Image across(const ImageView& image, std::size_t width) {
    const auto columns = mixes(image.size.width, width);
    Image resized({image.size.height, width});
    for (std::size_t y = 0; y < image.size.height; ++y) {
        const std::uint8_t* from = image.row(y);
        std::uint8_t* to = resized.row(y);
        for (const Mix& mix : columns) {
            std::array<std::int32_t, channels> sums{half, half, half};
            const std::uint8_t* sample = from + (mix.first * channels);
            for (const std::int32_t weight : mix.weights) {
                for (std::size_t c = 0; c < channels; ++c) {
                    sums[c] += *sample++ * weight;
                }
            }
            to = std::transform(sums.begin(), sums.end(), to, to_byte);
        }
    }
    return resized;
}

Image down(const ImageView& image, std::size_t height) {
    const auto rows = mixes(image.size.height, height);
    Image resized({height, image.size.width});
    const std::size_t samples = image.size.width * channels;
    std::vector<std::int32_t> sums(samples);
    for (std::size_t y = 0; y < height; ++y) {
        std::fill(sums.begin(), sums.end(), half);
        for (std::size_t i = 0; i < rows[y].weights.size(); ++i) {
            const std::uint8_t* from = image.row(rows[y].first + i);
            const std::int32_t weight = rows[y].weights[i];
            for (std::size_t x = 0; x < samples; ++x) {
                sums[x] += from[x] * weight;
            }
        }
        std::transform(sums.begin(), sums.end(), resized.row(y), to_byte);
    }
    return resized;
}

/// Whether Pillow shrinks the height before it touches the width: since 13.0 it does where
/// that takes off more than twice as many rows as columns.
bool height_first(ImageSize before, ImageSize after) {
    const auto less = [](std::size_t from, std::size_t to) {
        return static_cast<std::int64_t>(from) - static_cast<std::int64_t>(to);
    };
    const std::int64_t rows = less(before.height, after.height);
    return rows > 0 && rows > 2 * less(before.width, after.width);
}

Image copy(const ImageView& image) {
    Image copied(image.size);
    for (std::size_t y = 0; y < image.size.height; ++y) {
        std::copy_n(image.row(y), image.size.width * channels, copied.row(y));
    }
    return copied;
}

}  // namespace

Image resize(const ImageView& image, ImageSize size) {
    if (image.size == size) {
        return copy(image);
    }
    if (image.size.width == size.width) {
        return down(image, size.height);
    }
    if (image.size.height == size.height) {
        return across(image, size.width);
    }
    if (height_first(image.size, size)) {
        return across(down(image, size.height).view(), size.width);
    }
    return down(across(image, size.width).view(), size.height);
}

}  // namespace hrvit

#include "prepare.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "resize.hpp"

namespace hrvit {
namespace {

constexpr std::size_t channels = 3;

std::size_t scaled(std::size_t side, double scale) {
    // Halves go to even, as Python rounds.
    return static_cast<std::size_t>(
        std::max(1.0, std::nearbyint(static_cast<double>(side) * scale)));
}

/// The picture in the top left corner, and the mean colour around it.
Image fill_up(const Image& picture, const Preparation& preparation) {
    std::array<std::uint8_t, channels> mean{};
    std::transform(preparation.mean.begin(), preparation.mean.end(), mean.begin(), [](float m) {
        return static_cast<std::uint8_t>(std::clamp(std::nearbyint(m), 0.0F, 255.0F));
    });
    Image filled(preparation.size);
    for (std::size_t y = 0; y < filled.size.height; ++y) {
        std::uint8_t* row = filled.row(y);
        const std::size_t kept = y < picture.size.height ? picture.size.width : 0;
        const std::uint8_t* from = kept > 0 ? picture.view().row(y) : nullptr;
        row = kept > 0 ? std::copy_n(from, kept * channels, row) : row;
        for (std::size_t x = kept; x < filled.size.width; ++x) {
            row = std::copy(mean.begin(), mean.end(), row);
        }
    }
    return filled;
}

Image fitted(const ImageView& image, const Preparation& preparation, Fit fit) {
    const ImageSize part = shown_part(image.size, preparation.size, fit);
    Image resized = resize(image, part);
    return part == preparation.size ? resized : fill_up(resized, preparation);
}

/// The float of each byte of a channel: there are but 256.
std::array<float, 256> normalised(float mean, float std) {
    std::array<float, 256> values{};
    for (std::size_t i = 0; i < values.size(); ++i) {
        values.at(i) = (static_cast<float>(i) - mean) / std;
    }
    return values;
}

void write(const Image& image, const Preparation& preparation, float* to) {
    const std::size_t count = image.size.height * image.size.width;
    for (std::size_t c = 0; c < channels; ++c) {
        const auto values = normalised(preparation.mean.at(c), preparation.std.at(c));
        const std::uint8_t* from = image.pixels.data() + c;
        for (std::size_t i = 0; i < count; ++i) {
            *to++ = values[from[i * channels]];
        }
    }
}

void write(const Image& image, const Preparation& /*in the graph*/, std::uint8_t* to) {
    std::copy(image.pixels.begin(), image.pixels.end(), to);
}

/// Images one after the other; the last one again until the batch is full.
template <typename Value>
Tensor batch_of(const std::vector<Image>& images, const Preparation& preparation,
                const Shape& shape) {
    std::vector<Value> values(count_of(shape));
    const std::size_t each = values.size() / shape.front();
    for (std::size_t i = 0; i < shape.front(); ++i) {
        write(images[std::min(i, images.size() - 1)], preparation, values.data() + (i * each));
    }
    return {shape, std::move(values)};
}

}  // namespace

ImageSize shown_part(ImageSize picture, ImageSize input, Fit fit) {
    if (fit == Fit::Stretch) {
        return input;
    }
    const double scale =
        std::min(static_cast<double>(input.height) / static_cast<double>(picture.height),
                 static_cast<double>(input.width) / static_cast<double>(picture.width));
    return {scaled(picture.height, scale), scaled(picture.width, scale)};
}

Tensor prepare(const std::vector<ImageView>& images, const Preparation& preparation, Fit fit,
               std::size_t batch) {
    std::vector<Image> resized;
    resized.reserve(batch);
    for (const ImageView& image : images) {
        resized.push_back(fitted(image, preparation, fit));
    }
    const auto [height, width] = preparation.size;
    if (preparation.format == InputFormat::Uint8Nhwc) {
        return batch_of<std::uint8_t>(resized, preparation, {batch, height, width, channels});
    }
    return batch_of<float>(resized, preparation, {batch, channels, height, width});
}

}  // namespace hrvit

/// Pixels, yours or ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hrvit {

/// In pixels.
struct ImageSize {
    std::size_t height = 0;
    std::size_t width = 0;

    friend bool operator==(ImageSize a, ImageSize b) noexcept {
        return a.height == b.height && a.width == b.width;
    }
    friend bool operator!=(ImageSize a, ImageSize b) noexcept { return !(a == b); }
};

/// Somebody's `height x width` RGB pixels of a byte a channel; they must outlive the view.
struct ImageView {
    const std::uint8_t* pixels = nullptr;
    ImageSize size;
    /// Bytes from one row to the next; 0 where rows follow each other at once.
    std::size_t stride = 0;

    [[nodiscard]] const std::uint8_t* row(std::size_t index) const noexcept {
        return pixels + (index * (stride == 0 ? size.width * 3 : stride));
    }
};

/// RGB pixels of its own, row after row.
struct Image {
    ImageSize size;
    std::vector<std::uint8_t> pixels;

    /// Of black pixels.
    explicit Image(ImageSize of_size = {})
        : size(of_size), pixels(of_size.height * of_size.width * 3) {}

    [[nodiscard]] ImageView view() const noexcept { return {pixels.data(), size, 0}; }
    [[nodiscard]] std::uint8_t* row(std::size_t index) noexcept {
        return pixels.data() + (index * size.width * 3);
    }
};

/// Stands where a score was NaN or infinite.
constexpr std::int32_t undecided = -1;

/// The class of each pixel of an image, row after row; `undecided` where there is none.
struct LabelMap {
    ImageSize size;
    std::vector<std::int32_t> labels;

    [[nodiscard]] std::int32_t at(std::size_t row, std::size_t column) const {
        return labels.at((row * size.width) + column);
    }
};

}  // namespace hrvit

#pragma once

#include <cstddef>
#include <cstdint>

#include "hrvit/image.hpp"

namespace infer {

/// The orientation in EXIF data that begins with its TIFF header: 1 to 8, and 1 where it
/// tells none.
[[nodiscard]] int orientation_in(const std::uint8_t* tiff, std::size_t size);

/// An image turned and mirrored as its EXIF orientation says.
[[nodiscard]] hrvit::Image upright(hrvit::Image image, int orientation);

}  // namespace infer

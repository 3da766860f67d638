#pragma once

#include "hrvit/image.hpp"

namespace hrvit {

/// An image at another size, bit for bit as Pillow's `Image.resize(size, BILINEAR)` has it:
/// a triangle that widens as the image shrinks, which is the antialiasing.
[[nodiscard]] Image resize(const ImageView& image, ImageSize size);

}  // namespace hrvit

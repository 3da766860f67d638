/// JPEG and PNG as the RGB images that `hrvit_deploy.images.load_image` would show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "hrvit/image.hpp"

namespace infer {

using Bytes = std::vector<std::uint8_t>;

/// An image file that is decoded, and how it is to be turned.
struct Decoded {
    hrvit::Image image;
    /// EXIF's, 1 to 8; 1 is upright.
    int orientation = 1;
};

/// Why a file cannot be decoded.
struct Broken : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Pixels that an image may have: what is larger fills memory before anything can be seen of
/// it. The variable sets another limit, and 0 none.
constexpr std::size_t most_pixels = 178'956'970;
constexpr auto most_pixels_variable = "HRVIT_DEPLOY_MAX_PIXELS";

/// hrvit::InputError if an image has more pixels than are read.
void check_size(hrvit::ImageSize size);

/// Upright RGB: EXIF orientation is applied, grey becomes RGB, 16 bits become 8,
/// transparency is laid over white.
///
/// Throws hrvit::InputError: the file cannot be read, is broken, or is neither.
[[nodiscard]] hrvit::Image read_image(const std::filesystem::path& path);

/// Throw Broken if it cannot be decoded.
[[nodiscard]] Decoded read_jpeg(const Bytes& file);
[[nodiscard]] Decoded read_png(const Bytes& file);

}  // namespace infer

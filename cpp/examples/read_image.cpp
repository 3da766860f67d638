#include "read_image.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "exif.hpp"
#include "hrvit/error.hpp"

namespace infer {
namespace {

constexpr std::array<std::uint8_t, 3> jpeg_start{0xFF, 0xD8, 0xFF};
constexpr std::array<std::uint8_t, 8> png_start{0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};

Bytes bytes_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file || !std::filesystem::is_regular_file(path)) {
        const bool there = std::filesystem::exists(path);
        throw hrvit::InputError(
            (there ? "cannot read image " : "there is no image ") + path.string(),
            there ? "give a file you may read" : "check the path");
    }
    return {std::istreambuf_iterator<char>(file), {}};
}

template <std::size_t Count>
bool begins_with(const Bytes& file, const std::array<std::uint8_t, Count>& start) {
    return file.size() >= Count && std::equal(start.begin(), start.end(), file.begin());
}

/// The limit that holds here; 0 for none.
std::size_t limit_here() {
    const char* text = std::getenv(most_pixels_variable);  // NOLINT(concurrency-mt-unsafe)
    if (text == nullptr || *text == '\0') {
        return most_pixels;
    }
    std::size_t limit = 0;
    const char* end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, limit);
    if (error != std::errc{} || stop != end) {
        throw hrvit::InputError(std::string(most_pixels_variable) + " is '" + text + "'",
                                "set it to a number of pixels");
    }
    return limit;
}

}  // namespace

void check_size(hrvit::ImageSize size) {
    const std::size_t limit = limit_here();
    const std::size_t pixels = size.height * size.width;
    if (limit > 0 && pixels > limit) {
        throw hrvit::InputError(
            "the image has " + std::to_string(pixels) + " pixels (" +
                std::to_string(size.width) + " x " + std::to_string(size.height) +
                "), more than the " + std::to_string(limit) + " that are read",
            std::string("cut it into tiles, or set the limit with ") + most_pixels_variable +
                "=" + std::to_string(pixels));
    }
}

hrvit::Image read_image(const std::filesystem::path& path) {
    const Bytes file = bytes_of(path);
    const bool jpeg = begins_with(file, jpeg_start);
    if (!jpeg && !begins_with(file, png_start)) {
        throw hrvit::InputError(path.string() + " is neither JPEG nor PNG",
                                "convert it to one of them");
    }
    try {
        Decoded decoded = jpeg ? read_jpeg(file) : read_png(file);
        return upright(std::move(decoded.image), decoded.orientation);
    } catch (const Broken& error) {
        throw hrvit::InputError(path.string() + " cannot be decoded: " + error.what(),
                                "restore the file, or remove it");
    }
}

}  // namespace infer

/// libpng reports errors by longjmp: between setjmp and there, nothing has a destructor.
#include <png.h>

#include <array>
#include <csetjmp>
#include <cstring>
#include <limits>

#include "exif.hpp"
#include "read_image.hpp"

namespace infer {
namespace {

constexpr std::size_t rgba = 4;

/// What libpng's callbacks are handed.
struct Source {
    const Bytes& file;
    std::size_t place = 0;
    std::array<char, 256> message{};
};

void fail(png_structp png, png_const_charp message) {
    auto* source = static_cast<Source*>(png_get_error_ptr(png));
    std::strncpy(source->message.data(), message, source->message.size() - 1);
    png_longjmp(png, 1);
}

void be_silent(png_structp /*png*/, png_const_charp /*message*/) {}

void give(png_structp png, png_bytep to, std::size_t count) {
    auto* source = static_cast<Source*>(png_get_io_ptr(png));
    if (source->file.size() - source->place < count) {
        png_error(png, "the file is truncated");
    }
    std::memcpy(to, source->file.data() + source->place, count);
    source->place += count;
}

/// A sample over white, in the steps of Pillow's `alpha_composite`.
std::uint8_t over_white(std::uint32_t sample, std::uint32_t alpha) {
    constexpr std::uint32_t white = 255;
    constexpr unsigned bits = 7;
    const std::uint32_t share = alpha << bits;
    const std::uint32_t mixed =
        (sample * share) + (white * ((white << bits) - share)) + (std::uint32_t{0x80} << bits);
    return static_cast<std::uint8_t>((((mixed >> 8U) + mixed) >> 8U) >> bits);
}

/// A reading, whose structures are destroyed at the end.
class Decoder {
  public:
    explicit Decoder(const Bytes& file)
        : source_{file},
          png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, &source_, fail, be_silent)),
          info_(png_ == nullptr ? nullptr : png_create_info_struct(png_)) {
        if (info_ == nullptr) {
            png_destroy_read_struct(&png_, nullptr, nullptr);
            throw Broken("libpng does not start");
        }
    }
    ~Decoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;
    Decoder(Decoder&&) = delete;
    Decoder& operator=(Decoder&&) = delete;

    Decoded decode() {
        start();
        const std::size_t height = png_get_image_height(png_, info_);
        const std::size_t width = png_get_image_width(png_, info_);
        check_size({height, width});
        pixels_.resize(height * width * rgba);
        for (std::size_t y = 0; y < height; ++y) {
            rows_.push_back(pixels_.data() + (y * width * rgba));
        }
        read_rows();
        Decoded decoded{hrvit::Image({height, width}), orientation()};
        for (std::size_t i = 0; i < height * width; ++i) {
            const std::uint8_t* from = pixels_.data() + (i * rgba);
            for (std::size_t c = 0; c < 3; ++c) {
                decoded.image.pixels[(i * 3) + c] = over_white(from[c], from[3]);
            }
        }
        return decoded;
    }

  private:
    /// Read the header, and have everything come as RGBA of a byte a channel.
    void start() {
        if (setjmp(png_jmpbuf(png_)) != 0) {  // NOLINT: libpng's way
            throw Broken(source_.message.data());
        }
        png_set_read_fn(png_, &source_, give);
        png_read_info(png_, info_);
        const auto colours = png_get_color_type(png_, info_);
        if (png_get_bit_depth(png_, info_) == 16) {
            // Pillow rounds grey, and cuts colours.
            if (colours == PNG_COLOR_TYPE_GRAY) {
                png_set_scale_16(png_);
            } else {
                png_set_strip_16(png_);
            }
        }
        png_set_expand(png_);
        png_set_gray_to_rgb(png_);
        png_set_add_alpha(png_, std::numeric_limits<std::uint8_t>::max(), PNG_FILLER_AFTER);
        png_set_interlace_handling(png_);
        png_read_update_info(png_, info_);
    }

    void read_rows() {
        if (setjmp(png_jmpbuf(png_)) != 0) {  // NOLINT: libpng's way
            throw Broken(source_.message.data());
        }
        png_read_image(png_, rows_.data());
        png_read_end(png_, info_);
    }

    [[nodiscard]] int orientation() const {
        png_uint_32 size = 0;
        png_bytep exif = nullptr;
        const bool there = png_get_eXIf_1(png_, info_, &size, &exif) != 0;
        return there ? orientation_in(exif, size) : 1;
    }

    Source source_;
    png_structp png_;
    png_infop info_;
    std::vector<std::uint8_t> pixels_;
    std::vector<png_bytep> rows_;
};

}  // namespace

Decoded read_png(const Bytes& file) { return Decoder(file).decode(); }

}  // namespace infer

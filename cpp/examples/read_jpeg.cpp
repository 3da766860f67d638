/// libjpeg reports errors by longjmp: between setjmp and there, nothing has a destructor.
#include <cstdio>
// It wants stdio first.
#include <jerror.h>
#include <jpeglib.h>

#include <array>
#include <csetjmp>
#include <cstring>
#include <string_view>

#include "exif.hpp"
#include "read_image.hpp"

namespace infer {
namespace {

constexpr int exif_marker = JPEG_APP0 + 1;
constexpr unsigned longest = 0xFFFF;
constexpr std::string_view exif_start{"Exif\0\0", 6};

/// libjpeg's own, with where to jump and what to say there.
struct Errors {
    jpeg_error_mgr base;
    std::jmp_buf back;
    std::array<char, JMSG_LENGTH_MAX> message;
};

[[noreturn]] void jump(j_common_ptr info) {
    // NOLINTBEGIN(cppcoreguidelines-pro-*, cert-err52-cpp): libjpeg's way
    auto* errors = reinterpret_cast<Errors*>(info->err);
    errors->base.format_message(info, errors->message.data());
    std::longjmp(errors->back, 1);
    // NOLINTEND(cppcoreguidelines-pro-*, cert-err52-cpp)
}

/// Data that ends early is an error; other warnings are let pass, as Pillow does.
void warn(j_common_ptr info, int level) {
    if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) {
        jump(info);
    }
}

void be_silent(j_common_ptr /*info*/) {}

/// A decompressor, destroyed at the end.
class Decoder {
  public:
    explicit Decoder(const Bytes& file) : file_(file) {
        info_.err = jpeg_std_error(&errors_.base);
        errors_.base.error_exit = jump;
        errors_.base.emit_message = warn;
        errors_.base.output_message = be_silent;
    }
    ~Decoder() { jpeg_destroy_decompress(&info_); }
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;
    Decoder(Decoder&&) = delete;
    Decoder& operator=(Decoder&&) = delete;

    Decoded decode() {
        start();
        if (info_.num_components != 1 && info_.num_components != 3) {
            throw Broken("its colours are CMYK; convert it to RGB");
        }
        check_size({info_.image_height, info_.image_width});
        Decoded decoded{hrvit::Image({info_.image_height, info_.image_width}), orientation()};
        read_rows(decoded.image);
        return decoded;
    }

  private:
    void start() {
        if (setjmp(errors_.back) != 0) {  // NOLINT: libjpeg's way
            throw Broken(errors_.message.data());
        }
        jpeg_create_decompress(&info_);
        jpeg_mem_src(&info_, file_.data(), static_cast<unsigned long>(file_.size()));
        jpeg_save_markers(&info_, exif_marker, longest);
        jpeg_read_header(&info_, TRUE);
        info_.out_color_space = JCS_RGB;
    }

    void read_rows(hrvit::Image& image) {
        if (setjmp(errors_.back) != 0) {  // NOLINT: libjpeg's way
            throw Broken(errors_.message.data());
        }
        jpeg_start_decompress(&info_);
        while (info_.output_scanline < info_.output_height) {
            JSAMPROW row = image.row(info_.output_scanline);
            jpeg_read_scanlines(&info_, &row, 1);
        }
        jpeg_finish_decompress(&info_);
    }

    [[nodiscard]] int orientation() const {
        for (auto* marker = info_.marker_list; marker != nullptr; marker = marker->next) {
            const std::size_t size = marker->data_length;
            if (marker->marker == exif_marker && size > exif_start.size() &&
                std::memcmp(marker->data, exif_start.data(), exif_start.size()) == 0) {
                return orientation_in(marker->data + exif_start.size(),
                                      size - exif_start.size());
            }
        }
        return 1;
    }

    const Bytes& file_;
    jpeg_decompress_struct info_{};
    Errors errors_{};
};

}  // namespace

Decoded read_jpeg(const Bytes& file) { return Decoder(file).decode(); }

}  // namespace infer

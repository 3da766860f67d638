/// One tag of one directory is all that is needed of EXIF (CIPA DC-008, "Orientation").
#include "exif.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace infer {
namespace {

constexpr std::uint32_t orientation_tag = 0x0112;
constexpr std::size_t entry_size = 12;

constexpr std::size_t value_size = 4;

/// Bytes of a value of that type; 0 for those that are no whole numbers.
constexpr std::size_t bytes_of(std::uint32_t type) {
    switch (type) {
        case 1:  // BYTE
        case 6:  // SBYTE
            return 1;
        case 3:  // SHORT
        case 8:  // SSHORT
            return 2;
        case 4:  // LONG
        case 9:  // SLONG
            return 4;
        default:
            return 0;
    }
}

/// Whether rows and columns change places, and which of them then run backwards.
struct Turn {
    bool swapped = false;
    bool rows_back = false;
    bool columns_back = false;
};

/// By orientation; 0 is none.
constexpr std::array<Turn, 9> turns{{{},
                                     {},
                                     {false, false, true},
                                     {false, true, true},
                                     {false, true, false},
                                     {true, false, false},
                                     {true, false, true},
                                     {true, true, true},
                                     {true, true, false}}};

/// Numbers in somebody's TIFF bytes; 0 beyond their end.
class Tiff {
  public:
    Tiff(const std::uint8_t* bytes, std::size_t size)
        : bytes_(bytes), size_(size), big_endian_(size > 0 && bytes[0] == 'M') {}

    [[nodiscard]] std::uint32_t number(std::size_t place, std::size_t bytes) const {
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i) {
            const std::size_t at = place + (big_endian_ ? i : bytes - 1 - i);
            value = (value << 8U) | (at < size_ ? bytes_[at] : 0U);
        }
        return value;
    }

  private:
    const std::uint8_t* bytes_;
    std::size_t size_;
    bool big_endian_;
};

}  // namespace

int orientation_in(const std::uint8_t* tiff, std::size_t size) {
    const Tiff data(tiff, size);
    const std::size_t directory = data.number(4, 4);
    const std::size_t entries = data.number(directory, 2);
    for (std::size_t i = 0; i < entries; ++i) {
        const std::size_t entry = directory + 2 + (i * entry_size);
        if (data.number(entry, 2) == orientation_tag) {
            const std::size_t bytes = bytes_of(data.number(entry + 2, 2));
            const std::size_t all = bytes * data.number(entry + 4, 4);
            // Others lie elsewhere.
            const bool held = all > 0 && all <= value_size;
            const std::uint32_t value = held ? data.number(entry + 8, bytes) : 1;
            return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
        }
    }
    return 1;
}

hrvit::Image upright(hrvit::Image image, int orientation) {
    if (orientation <= 1) {
        return image;
    }
    const Turn turn = turns.at(static_cast<std::size_t>(orientation));
    const auto [height, width] = image.size;
    hrvit::Image turned(turn.swapped ? hrvit::ImageSize{width, height} : image.size);
    for (std::size_t y = 0; y < turned.size.height; ++y) {
        std::uint8_t* to = turned.row(y);
        const std::size_t row = turn.rows_back ? turned.size.height - 1 - y : y;
        for (std::size_t x = 0; x < turned.size.width; ++x) {
            const std::size_t column = turn.columns_back ? turned.size.width - 1 - x : x;
            const std::uint8_t* from =
                turn.swapped ? image.row(column) + (row * 3) : image.row(row) + (column * 3);
            to = std::copy_n(from, 3, to);
        }
    }
    return turned;
}

}  // namespace infer

#include "overlay.hpp"

#include <png.h>

#include <algorithm>
#include <fstream>

#include "hrvit/error.hpp"

namespace infer {
namespace {

constexpr float alpha = 0.5F;

std::uint8_t blend(std::uint8_t picture, std::uint8_t colour) {
    const auto from = static_cast<float>(picture);
    return static_cast<std::uint8_t>(from + (alpha * (static_cast<float>(colour) - from)));
}

std::vector<std::uint8_t> encoded(const hrvit::Image& image, const std::string& name) {
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    png.width = static_cast<png_uint_32>(image.size.width);
    png.height = static_cast<png_uint_32>(image.size.height);
    png.format = PNG_FORMAT_RGB;
    png_alloc_size_t size = 0;
    std::vector<std::uint8_t> bytes;
    // Asked first how large it will be.
    if (png_image_write_get_memory_size(png, size, 0, image.pixels.data(), 0, nullptr) != 0) {
        bytes.resize(size);
        if (png_image_write_to_memory(&png, bytes.data(), &size, 0, image.pixels.data(), 0,
                                      nullptr) != 0) {
            bytes.resize(size);
            return bytes;
        }
    }
    throw hrvit::InputError("cannot encode " + name + ": " + &png.message[0],
                            "give a smaller image");
}

}  // namespace

hrvit::Image draw_overlay(const hrvit::Image& picture, const hrvit::LabelMap& labels,
                          const hrvit::ClassSet& classes) {
    hrvit::Image drawn(picture.size);
    for (std::size_t i = 0; i < labels.labels.size(); ++i) {
        const std::int32_t label = labels.labels[i];
        const std::uint8_t* from = picture.pixels.data() + (i * 3);
        std::uint8_t* to = drawn.pixels.data() + (i * 3);
        hrvit::Colour colour{};
        if (label >= 0) {
            const auto& info = classes.at(static_cast<std::size_t>(label));
            colour = info.clear ? hrvit::Colour{from[0], from[1], from[2]} : info.colour;
        }
        std::transform(from, from + 3, colour.begin(), to, blend);
    }
    return drawn;
}

std::vector<std::pair<std::string, double>> shares_of(const hrvit::LabelMap& labels,
                                                      const hrvit::ClassSet& classes) {
    // Those without a class are counted behind the last one.
    std::vector<std::size_t> counts(classes.size() + 1);
    for (const std::int32_t label : labels.labels) {
        ++counts[label < 0 ? classes.size() : static_cast<std::size_t>(label)];
    }
    std::vector<std::pair<std::string, double>> shares;
    const auto total = static_cast<double>(labels.labels.size());
    for (std::size_t i = 0; i < classes.size(); ++i) {
        if (counts[i] > 0) {
            shares.emplace_back(classes[i].name, static_cast<double>(counts[i]) / total);
        }
    }
    std::stable_sort(shares.begin(), shares.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    if (counts.back() > 0) {
        shares.emplace_back("undecided", static_cast<double>(counts.back()) / total);
    }
    return shares;
}

void write_png(const hrvit::Image& image, const std::filesystem::path& path) {
    const auto bytes = encoded(image, path.string());
    std::filesystem::path partial = path;
    partial += ".partial";
    std::ofstream file(partial, std::ios::binary);
    file.write(static_cast<const char*>(static_cast<const void*>(bytes.data())),
               static_cast<std::streamsize>(bytes.size()));
    file.close();
    std::error_code failed;
    if (file) {
        std::filesystem::rename(partial, path, failed);
    }
    if (!file || failed) {
        std::error_code ignored;
        std::filesystem::remove(partial, ignored);
        throw hrvit::InputError("cannot write " + path.string(),
                                "make room, or choose another folder with --out");
    }
}

}  // namespace infer

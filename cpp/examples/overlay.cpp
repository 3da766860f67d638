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

/// Classes whose indices a palette holds, with one left for pixels without a class.
constexpr std::size_t palette_classes = 255;
constexpr std::size_t palette_entries = 256;

/// The bytes of a PNG of that format, with a palette where the format has one.
std::vector<std::uint8_t> encoded(hrvit::ImageSize of_size, png_uint_32 format,
                                  const void* pixels, const void* palette,
                                  const std::string& name) {
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    png.width = static_cast<png_uint_32>(of_size.width);
    png.height = static_cast<png_uint_32>(of_size.height);
    png.format = format;
    png.colormap_entries = palette == nullptr ? 0 : palette_entries;
    png_alloc_size_t size = 0;
    std::vector<std::uint8_t> bytes;
    // Asked first how large it will be.
    if (png_image_write_get_memory_size(png, size, 0, pixels, 0, palette) != 0) {
        bytes.resize(size);
        if (png_image_write_to_memory(&png, bytes.data(), &size, 0, pixels, 0, palette) != 0) {
            bytes.resize(size);
            return bytes;
        }
    }
    throw hrvit::InputError("cannot encode " + name + ": " + &png.message[0],
                            "give a smaller image");
}

/// Class indices in a number of so many bits; all of them set where there is no class.
template <typename Value>
std::vector<Value> indices_of(const hrvit::LabelMap& labels) {
    std::vector<Value> indices(labels.labels.size());
    std::transform(labels.labels.begin(), labels.labels.end(), indices.begin(),
                   [](std::int32_t label) { return static_cast<Value>(label); });
    return indices;
}

/// Write bytes to a file, whole or not at all.
void write_whole(const std::vector<std::uint8_t>& bytes, const std::filesystem::path& path) {
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
    write_whole(
        encoded(image.size, PNG_FORMAT_RGB, image.pixels.data(), nullptr, path.string()), path);
}

void write_labels(const hrvit::LabelMap& labels, const hrvit::ClassSet& classes,
                  const std::filesystem::path& path) {
    if (classes.size() > palette_classes) {
        const auto indices = indices_of<std::uint16_t>(labels);
        write_whole(encoded(labels.size, PNG_FORMAT_LINEAR_Y, indices.data(), nullptr,
                            path.string()),
                    path);
        return;
    }
    const auto indices = indices_of<std::uint8_t>(labels);
    std::vector<std::uint8_t> palette(palette_entries * 3);
    auto* entry = palette.data();
    for (const auto& info : classes) {
        entry = std::copy(info.colour.begin(), info.colour.end(), entry);
    }
    write_whole(encoded(labels.size, PNG_FORMAT_RGB_COLORMAP, indices.data(), palette.data(),
                        path.string()),
                path);
}

}  // namespace infer

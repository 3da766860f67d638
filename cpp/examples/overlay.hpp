#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "hrvit/classes.hpp"
#include "hrvit/image.hpp"

namespace infer {

/// The picture under its classes' colours, half and half; clear ones leave it as it is.
[[nodiscard]] hrvit::Image draw_overlay(const hrvit::Image& picture,
                                        const hrvit::LabelMap& labels,
                                        const hrvit::ClassSet& classes);

/// The classes in a map and their shares of it, the largest first; pixels without one last.
[[nodiscard]] std::vector<std::pair<std::string, double>> shares_of(
    const hrvit::LabelMap& labels, const hrvit::ClassSet& classes);

/// Write a PNG, whole or not at all; hrvit::InputError if nothing can be written there.
void write_png(const hrvit::Image& image, const std::filesystem::path& path);

/// Write a PNG whose values are class indices, as `write_png` does.
///
/// Up to 255 classes it has their colours for a palette, and 255 stands where there is no
/// class; more are written as 16-bit grey, and 65535 stands there.
void write_labels(const hrvit::LabelMap& labels, const hrvit::ClassSet& classes,
                  const std::filesystem::path& path);

}  // namespace infer

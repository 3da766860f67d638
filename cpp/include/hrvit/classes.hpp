/// What classes are called, and the colours they are drawn in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hrvit/manifest.hpp"

namespace hrvit {

/// Red, green and blue.
using Colour = std::array<std::uint8_t, 3>;

struct ClassInfo {
    std::string name;
    Colour colour{};
    /// Whether the picture shows through it.
    bool clear = false;
};

/// One entry a class, by index; no two names are the same.
using ClassSet = std::vector<ClassInfo>;

/// Text that changes nothing on a terminal: controls are escaped, as `\x1b` or `\u202e`.
[[nodiscard]] std::string printable(const std::string& text);

/// The classes of a network: those its sidecar names, the known set of that many, numbers.
[[nodiscard]] ClassSet choose_classes(const Manifest& manifest);

}  // namespace hrvit

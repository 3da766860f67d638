#include "hrvit/classes.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "palettes.hpp"

namespace hrvit {
namespace {

constexpr std::size_t ade20k_classes = 150;
constexpr std::size_t cityscapes_classes = 19;

/// `name<tab>#rrggbb` a line.
ClassSet parse(const char* palette) {
    ClassSet classes;
    std::istringstream lines{palette};
    for (std::string line; std::getline(lines, line);) {
        const std::size_t tab = line.find('\t');
        if (tab == std::string::npos) {
            continue;
        }
        const auto digits = std::stoul(line.substr(tab + 2), nullptr, 16);
        const auto byte = [digits](unsigned shift) {
            return static_cast<std::uint8_t>((digits >> shift) & 0xFFU);
        };
        classes.push_back({line.substr(0, tab), {byte(16), byte(8), byte(0)}, false});
    }
    return classes;
}

/// A colour unlike those of all classes before; the table is that of hrvit_deploy/classes.py.
Colour colour_of(std::size_t index) {
    static const ClassSet table = parse(palettes::glasbey);
    return table.at(index % table.size()).colour;
}

bool is_background(std::string name) {
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return name == "background";
}

/// Those names in colours of their own; one that comes again gets its number in brackets.
ClassSet class_set(const std::vector<std::string>& names) {
    ClassSet classes;
    std::set<std::string> taken;
    for (const std::string& given : names) {
        const std::string name = printable(given);
        std::string chosen = name;
        for (int count = 2; !taken.insert(chosen).second; ++count) {
            chosen = name + " (" + std::to_string(count) + ")";
        }
        const bool clear = is_background(chosen);
        classes.push_back({chosen, clear ? Colour{} : colour_of(classes.size()), clear});
    }
    return classes;
}

std::optional<ClassSet> known_set(std::size_t count) {
    if (count == ade20k_classes) {
        return parse(palettes::ade20k);
    }
    if (count == cityscapes_classes) {
        return parse(palettes::cityscapes);
    }
    return std::nullopt;
}

bool named_alike(const ClassSet& classes, const ClassSet& others) {
    return std::equal(classes.begin(), classes.end(), others.begin(), others.end(),
                      [](const auto& a, const auto& b) { return a.name == b.name; });
}

/// The code point of two or three bytes of UTF-8 that a control has; 0 for any other text.
unsigned control_at(const std::string& text, std::size_t place) {
    const auto byte = [&](std::size_t offset) -> unsigned {
        return place + offset < text.size() ? static_cast<unsigned char>(text[place + offset])
                                            : 0U;
    };
    if (byte(0) == 0xC2U && byte(1) >= 0x80U && byte(1) <= 0x9FU) {
        return byte(1);
    }
    // Ends of lines and paragraphs, and what turns the direction of text.
    if (byte(0) == 0xE2U && byte(1) == 0x80U && byte(2) >= 0xA8U && byte(2) <= 0xAEU) {
        return 0x2000U + (byte(2) - 0x80U);
    }
    if (byte(0) == 0xE2U && byte(1) == 0x81U && byte(2) >= 0xA6U && byte(2) <= 0xA9U) {
        return 0x2040U + (byte(2) - 0x80U);
    }
    return 0;
}

std::string escaped(unsigned code) {
    constexpr std::string_view digits = "0123456789abcdef";
    const bool wide = code > 0xFFU;
    std::string text = wide ? "\\u" : "\\x";
    for (unsigned shift = wide ? 16 : 8; shift > 0; shift -= 4) {
        text += digits[(code >> (shift - 4)) & 0xFU];
    }
    return text;
}

}  // namespace

std::string printable(const std::string& text) {
    std::string shown;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if (byte < 0x20U || byte == 0x7FU) {
            shown += escaped(byte);
        } else if (const unsigned code = control_at(text, i); code != 0) {
            shown += escaped(code);
            i += code > 0xFFU ? 2 : 1;
        } else {
            shown += text[i];
        }
    }
    return shown;
}

ClassSet choose_classes(const Manifest& manifest) {
    const std::size_t count = manifest.num_classes;
    const auto known = known_set(count);
    if (manifest.class_names.size() == count) {
        ClassSet named = class_set(manifest.class_names);
        return known && named_alike(*known, named) ? *known : named;
    }
    if (manifest.task == Task::Segment && known) {
        return *known;
    }
    std::vector<std::string> numbers;
    for (std::size_t i = 0; i < count; ++i) {
        numbers.push_back(std::to_string(i));
    }
    return class_set(numbers);
}

}  // namespace hrvit

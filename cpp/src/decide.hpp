#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hrvit/image.hpp"

namespace hrvit {

/// One image's `C x h x w` scores, somebody's.
struct ScoreMaps {
    const float* values = nullptr;
    std::size_t classes = 0;
    /// Of the maps as they are.
    ImageSize stored;
    /// Of the network's input, to which smaller maps are enlarged first.
    ImageSize input;
    /// The top left part of the input that shows the picture.
    ImageSize part;
};

/// The winning class of each pixel of a picture of that size; ties go to the lower class.
///
/// Scores are brought to the size bilinearly, as `hrvit_deploy.standalone.postprocess` does it.
[[nodiscard]] LabelMap decide(const ScoreMaps& scores, ImageSize size);

/// One image's `h x w` class map, somebody's.
struct ClassMap {
    const std::uint8_t* values = nullptr;
    std::size_t classes = 0;
    ImageSize stored;
    /// The top left part that shows the picture.
    ImageSize part;
};

/// The class map at a picture's size, by the nearest pixel; undecided for a class there is
/// not.
[[nodiscard]] LabelMap decide(const ClassMap& map, ImageSize size);

/// Probabilities of so many scores.
[[nodiscard]] std::vector<float> softmax(const float* scores, std::size_t classes);

}  // namespace hrvit

/// What a network takes and returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <variant>
#include <vector>

namespace hrvit {

/// In elements, the batch first.
using Shape = std::vector<std::size_t>;

/// How many elements a tensor of that shape has.
[[nodiscard]] inline std::size_t count_of(const Shape& shape) {
    return std::accumulate(shape.begin(), shape.end(), std::size_t{1}, std::multiplies<>());
}

/// Elements in C order: bytes for uint8, floats for every floating type.
struct Tensor {
    Shape shape;
    std::variant<std::vector<float>, std::vector<std::uint8_t>> values;
};

}  // namespace hrvit

#pragma once

#include <NvInferRuntime.h>

#include <cstddef>
#include <string>

namespace hrvit::tensorrt {

/// The library's one logger: it keeps the first it is given for the whole process.
[[nodiscard]] nvinfer1::ILogger& logger();

/// Hears the errors that the library reports from its making on.
class Listener {
  public:
    Listener();

    /// The errors as one line; the echo of an absent driver only if there is no other.
    [[nodiscard]] std::string errors() const;

  private:
    std::size_t start_;
};

}  // namespace hrvit::tensorrt

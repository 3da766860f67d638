/// Everything this library throws on purpose.
///
///     Error                    one line, and what to do about it
///     ├── UsageError           options that cannot be meant
///     ├── InputError           a file or image that cannot be used
///     │   └── ArtefactError    an artefact whose bytes or sidecar do not fit
///     ├── MissingDependency    a backend that this build, or this machine, does not have
///     └── RunnerError          a backend that could not open or run
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace hrvit {

/// What went wrong, and how to mend it; `what()` is both.
class Error : public std::runtime_error {
  public:
    Error(const std::string& message, const std::string& hint)
        : std::runtime_error(message + "; " + hint), length_(message.size()) {}

    [[nodiscard]] std::string_view message() const noexcept { return {what(), length_}; }

    [[nodiscard]] std::string_view hint() const noexcept { return what() + length_ + 2; }

  private:
    std::size_t length_;
};

class UsageError : public Error {
    using Error::Error;
};

class InputError : public Error {
    using Error::Error;
};

class ArtefactError : public InputError {
    using InputError::InputError;
};

class MissingDependency : public Error {
    using Error::Error;
};

class RunnerError : public Error {
    using Error::Error;
};

}  // namespace hrvit

#pragma once

#include <filesystem>
#include <string>

namespace hrvit {

/// SHA-256 of a file's bytes, as hexadecimal digits; ArtefactError if it cannot be read.
[[nodiscard]] std::string sha256_of(const std::filesystem::path& path);

}  // namespace hrvit

#pragma once

#include <filesystem>

#include "hrvit/manifest.hpp"

namespace hrvit {

/// Decode a sidecar, checking its schema first; ArtefactError if it is none.
[[nodiscard]] Manifest read_sidecar(const std::filesystem::path& sidecar);

}  // namespace hrvit

/// Whether a plan fits this machine, before anything native opens it.
///
/// A plan runs in the TensorRT version that built it, on the GPUs it was built for; only its
/// sidecar tells.
#pragma once

#include <string>
#include <string_view>

#include "hrvit/manifest.hpp"

namespace hrvit {

/// The first GPU.
struct Gpu {
    std::string name;
    /// Such as `8.9`.
    std::string compute_capability;
};

/// The TensorRT that this build is linked to.
struct Library {
    /// `tensorrt` or `tensorrt-rtx`.
    std::string_view backend;
    /// Such as `10.16.1.11`.
    std::string version;
};

/// What the plan's sidecar says of it, if it can be run by this library at all.
///
/// Throws ArtefactError: no plan, one without weights, one with code in it that was not
/// allowed to run, or one that another version built; MissingDependency: it is for the other
/// TensorRT.
const Engine& check_opens(const Artefact& artefact, const Library& library,
                          bool allow_host_code);

/// Throws ArtefactError: the plan was built for other GPUs.
void check_gpu(const Artefact& artefact, const Gpu& gpu);

}  // namespace hrvit

#include <string>

#include "hrvit/error.hpp"
#include "hrvit/manifest.hpp"
#include "sha256.hpp"
#include "sidecar.hpp"

namespace hrvit {
namespace {

namespace fs = std::filesystem;

std::string ending(Kind kind) { return kind == Kind::Onnx ? ".onnx" : ".plan"; }

std::string rerun(Kind kind) {
    return kind == Kind::Onnx ? "run hrvit-deploy export again"
                              : "run hrvit-deploy build-trt again";
}

void check_file(const fs::path& file, const std::string& sha256, const Artefact& artefact) {
    if (!fs::is_regular_file(file)) {
        throw ArtefactError("there is no " + file.string() + ", which holds the weights of " +
                                artefact.path.filename().string(),
                            "copy it beside that, or " + rerun(artefact.manifest.kind));
    }
    if (sha256_of(file) != sha256) {
        throw ArtefactError(
            file.string() + " is not the file its sidecar describes (SHA-256 differs)",
            rerun(artefact.manifest.kind) + ", or restore the file");
    }
}

}  // namespace

Artefact open_artefact(const fs::path& path) {
    fs::path sidecar = path;
    sidecar.replace_extension(".json");
    if (!fs::is_regular_file(path)) {
        throw ArtefactError("there is no " + path.string(), "check the path");
    }
    if (!fs::is_regular_file(sidecar)) {
        throw ArtefactError(
            "there is no " + sidecar.string(),
            path.filename().string() + " needs its sidecar; copy both, or export again");
    }
    Artefact artefact{path, read_sidecar(sidecar)};
    const std::string wanted = ending(artefact.manifest.kind);
    if (path.extension() != wanted) {
        throw ArtefactError(
            sidecar.string() + " describes a " + wanted + ", not " + path.filename().string(),
            "give " + path.stem().string() + wanted);
    }
    check_file(path, artefact.manifest.sha256, artefact);
    for (const auto& [name, sha256] : artefact.manifest.external_data) {
        check_file(path.parent_path() / name, sha256, artefact);
    }
    return artefact;
}

}  // namespace hrvit

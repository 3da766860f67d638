#include "backends/plan_fit.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

#include "hrvit/error.hpp"

namespace hrvit {
namespace {

constexpr auto rebuild = "run hrvit-deploy build-trt again on this machine";

std::string title(std::string_view backend) {
    return backend == "tensorrt-rtx" ? "TensorRT-RTX" : "TensorRT";
}

/// `{10, 13, 3, 9}` for `10.13.3.9.post1`.
std::vector<unsigned long> release(std::string_view version) {
    std::vector<unsigned long> numbers;
    std::size_t place = 0;
    while (place < version.size() &&
           std::isdigit(static_cast<unsigned char>(version[place])) != 0) {
        std::size_t end = place;
        unsigned long number = 0;
        for (; end < version.size() &&
               std::isdigit(static_cast<unsigned char>(version[end])) != 0;
             ++end) {
            number = (number * 10) + static_cast<unsigned long>(version[end] - '0');
        }
        numbers.push_back(number);
        place = end < version.size() && version[end] == '.' ? end + 1 : version.size();
    }
    return numbers;
}

bool runs_on(std::string_view own, const std::string& listed) {
    const bool and_later = !listed.empty() && listed.back() == '+';
    const auto wanted = release(listed);
    return and_later ? release(own) >= wanted : release(own) == wanted;
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) {
        text += (text.empty() ? "" : ", ") + word;
    }
    return text;
}

void check_version(const Artefact& artefact, const Engine& engine, const Library& library) {
    const auto built = release(engine.version);
    const auto here = release(library.version);
    if (engine.version_compatible ? here < built : here != built) {
        throw ArtefactError(artefact.path.string() + " was built by " + title(engine.backend) +
                                " " + engine.version + ", " + library.version +
                                " is linked here",
                            std::string(rebuild) + ", or build hrvit with that version");
    }
}

}  // namespace

const Engine& check_opens(const Artefact& artefact, const Library& library,
                          bool allow_host_code) {
    const std::string path = artefact.path.string();
    if (!artefact.manifest.engine) {
        throw ArtefactError(path + " has no engine in its sidecar",
                            "build it again with hrvit-deploy build-trt");
    }
    const Engine& engine = *artefact.manifest.engine;
    if (engine.backend != library.backend) {
        throw MissingDependency(
            path + " is a plan of " + title(engine.backend) + ", this build is linked to " +
                title(library.backend),
            "configure hrvit with -DTensorRT_ROOT=<" + title(engine.backend) +
                ">, or build the plan with --backend " + std::string(library.backend));
    }
    if (engine.weights_stripped) {
        throw ArtefactError(path + " was built without its weights",
                            "refit it first, or build it again without stripping them");
    }
    if (engine.version_compatible && !allow_host_code) {
        throw ArtefactError(
            path + " is version compatible: it carries code that would run here",
            "allow that for a plan you trust, or build it again without that option");
    }
    check_version(artefact, engine, library);
    return engine;
}

void check_gpu(const Artefact& artefact, const Gpu& gpu) {
    const auto& listed = artefact.manifest.engine->compute_capabilities;
    const bool fits = listed.empty() ||
                      std::any_of(listed.begin(), listed.end(), [&](const std::string& one) {
                          return runs_on(gpu.compute_capability, one);
                      });
    if (!fits) {
        throw ArtefactError(artefact.path.string() + " runs on compute capability " +
                                joined(listed) + ", and the " + gpu.name + " here has " +
                                gpu.compute_capability,
                            rebuild);
    }
}

}  // namespace hrvit

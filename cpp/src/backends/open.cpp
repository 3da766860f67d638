#include "backends/backend.hpp"
#include "hrvit/error.hpp"

namespace hrvit {

std::unique_ptr<Backend> open_backend(const Artefact& artefact,
                                      [[maybe_unused]] const SessionOptions& options) {
    if (artefact.manifest.kind == Kind::Onnx) {
#ifdef HRVIT_WITH_OPENVINO
        return open_openvino(artefact, options);
#else
        throw MissingDependency(
            artefact.path.string() + " runs in OpenVINO, which this build has not",
            "configure hrvit with -DHRVIT_OPENVINO=ON -DOpenVINO_DIR=<where its CMake files "
            "are>, or build a plan with hrvit-deploy build-trt");
#endif
    }
#ifdef HRVIT_WITH_TENSORRT
    return open_tensorrt(artefact, options);
#else
    throw MissingDependency(
        artefact.path.string() + " runs in TensorRT, which this build has not",
        "configure hrvit with -DHRVIT_TENSORRT=ON -DTensorRT_ROOT=<where it is unpacked>, or "
        "give the .onnx it was built from");
#endif
}

}  // namespace hrvit

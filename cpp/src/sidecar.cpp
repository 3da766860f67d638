/// The one file that parses JSON.
#include "sidecar.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "hrvit/error.hpp"

namespace hrvit {
namespace {

using Json = nlohmann::json;

constexpr int schema = 1;

/// A sidecar that is JSON, but not of the form it should have.
struct Malformed : std::runtime_error {
    using std::runtime_error::runtime_error;
};

template <typename Value, std::size_t Count>
Value named(const Json& json, const char* field,
            const std::array<std::pair<std::string_view, Value>, Count>& values) {
    const auto& text = json.at(field).get_ref<const std::string&>();
    for (const auto& [name, value] : values) {
        if (name == text) {
            return value;
        }
    }
    throw Malformed(std::string(field) + " is '" + text +
                    "', which this version does not know");
}

constexpr std::array<std::pair<std::string_view, Kind>, 2> kinds{
    {{"onnx", Kind::Onnx}, {"plan", Kind::Plan}}};
constexpr std::array<std::pair<std::string_view, Task>, 2> tasks{
    {{"classify", Task::Classify}, {"segment", Task::Segment}}};
constexpr std::array<std::pair<std::string_view, InputFormat>, 2> input_formats{
    {{"float-nchw", InputFormat::FloatNchw}, {"uint8-nhwc", InputFormat::Uint8Nhwc}}};
constexpr std::array<std::pair<std::string_view, OutputFormat>, 4> output_formats{
    {{"logits", OutputFormat::Logits},
     {"probabilities", OutputFormat::Probabilities},
     {"classmap", OutputFormat::Classmap},
     {"logits-quarter", OutputFormat::LogitsQuarter}}};

/// An object's entry, null where there is none or it is null.
const Json& entry(const Json& json, const char* field) {
    static const Json nothing;
    const auto found = json.find(field);
    return found == json.end() ? nothing : *found;
}

TensorInfo read_tensor(const Json& listed) {
    // A network here has one input and one output.
    const Json& json = listed.at(0);
    const Json& shape = json.at("shape");
    TensorInfo info;
    info.name = json.at("name").get<std::string>();
    info.dtype = json.at("dtype").get<std::string>();
    if (shape.at(0).is_number()) {
        info.batch = shape.at(0).get<std::size_t>();
    }
    for (std::size_t i = 1; i < shape.size(); ++i) {
        info.rest.push_back(shape.at(i).get<std::size_t>());
    }
    return info;
}

Preparation read_preparation(const Json& json) {
    Preparation preparation;
    preparation.size = {json.at("size").at(0).get<std::size_t>(),
                        json.at("size").at(1).get<std::size_t>()};
    preparation.format = named(json, "format", input_formats);
    const auto color = json.at("color").get<std::string>();
    const auto resize = json.at("resize").get<std::string>();
    const auto channels = json.at("mean").size();
    if (color != "RGB" || resize != "bilinear-antialias" || channels != 3) {
        throw Malformed(
            "it wants " + std::to_string(channels) + " channels of " + color + ", resized " +
            resize + "; 3 channels of RGB, bilinear-antialias, are all this version prepares");
    }
    preparation.mean = json.at("mean").get<std::array<float, 3>>();
    preparation.std = json.at("std").get<std::array<float, 3>>();
    return preparation;
}

Engine read_engine(const Json& json, const Json& options) {
    Engine engine;
    engine.backend = json.at("backend").get<std::string>();
    engine.version = json.at("version").get<std::string>();
    engine.compute_capabilities =
        json.value("compute_capabilities", std::vector<std::string>{});
    engine.weights_stripped = options.value("strip_weights", false);
    engine.version_compatible = options.value("version_compatible", false);
    return engine;
}

void read_network(const Json& json, Manifest& manifest) {
    // Another network than HRViT has a name and no variant.
    const Json& variant = json.at("variant");
    if (variant.is_null()) {
        manifest.title = json.at("name").get<std::string>();
    } else {
        manifest.variant = variant.at("name").get<std::string>();
        manifest.title = "HRViT-" + manifest.variant;
    }
    manifest.task = named(json, "task", tasks);
    manifest.num_classes = json.at("num_classes").get<std::size_t>();
    manifest.class_names = json.value("class_names", std::vector<std::string>{});
}

Manifest read_manifest(const Json& json) {
    Manifest manifest;
    manifest.kind = named(json, "kind", kinds);
    manifest.sha256 = json.at("sha256").get<std::string>();
    manifest.precision = json.at("precision").get<std::string>();
    manifest.output_format = named(json, "output_format", output_formats);
    manifest.input = read_tensor(json.at("inputs"));
    manifest.output = read_tensor(json.at("outputs"));
    manifest.preparation = read_preparation(json.at("preparation"));
    read_network(json.at("network"), manifest);
    const Json& options = json.at("options");
    if (const Json& engine = entry(json, "engine"); !engine.is_null()) {
        manifest.engine = read_engine(engine, options);
    }
    if (const Json& profile = entry(options, "profile"); !profile.is_null()) {
        manifest.usual_batch = profile.at("opt").get<std::size_t>();
    }
    if (const Json& graph = entry(json, "graph"); !graph.is_null()) {
        manifest.external_data =
            graph.value("external_data", std::map<std::string, std::string>{});
    }
    return manifest;
}

}  // namespace

Manifest read_sidecar(const std::filesystem::path& sidecar) {
    std::ifstream file(sidecar);
    if (!file) {
        throw ArtefactError("cannot read " + sidecar.string(),
                            "check the path and its permissions");
    }
    try {
        const Json json = Json::parse(file);
        const Json& found = entry(json, "schema");
        if (found != schema) {
            throw ArtefactError(
                sidecar.string() + " has schema " + found.dump() + ", this version reads " +
                    std::to_string(schema),
                "make the artefact again, with the hrvit-deploy that this library came with");
        }
        return read_manifest(json);
    } catch (const Json::exception& error) {
        throw ArtefactError(sidecar.string() + " is not a sidecar: " + error.what(),
                            "make the artefact again, or restore the file");
    } catch (const Malformed& error) {
        throw ArtefactError(sidecar.string() + " cannot be used: " + error.what(),
                            "make the artefact again for this version of hrvit-deploy");
    }
}

}  // namespace hrvit

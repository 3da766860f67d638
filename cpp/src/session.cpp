#include "hrvit/session.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "backends/backend.hpp"
#include "decide.hpp"
#include "prepare.hpp"

namespace hrvit {
namespace {

std::size_t batch_for(const Manifest& manifest, const SessionOptions& options) {
    const auto fixed = manifest.input.batch;
    if (fixed && options.batch != 0 && options.batch != *fixed) {
        throw UsageError("the artefact takes " + std::to_string(*fixed) +
                             " images a run, not " + std::to_string(options.batch),
                         "leave the batch to it, or export with --batch dynamic");
    }
    const std::size_t usual = fixed.value_or(manifest.usual_batch.value_or(1));
    return options.batch != 0 ? options.batch : usual;
}

std::string spelled(const Shape& shape) {
    std::string text;
    for (const std::size_t side : shape) {
        text += (text.empty() ? "" : " x ") + std::to_string(side);
    }
    return text;
}

void check_task(const Manifest& manifest, Task task) {
    if (manifest.task != task) {
        const bool segments = manifest.task == Task::Segment;
        throw UsageError(segments ? "the network segments" : "the network classifies",
                         segments ? "call segment" : "call classify");
    }
}

void check_view(const ImageView& image) {
    if (image.pixels == nullptr || image.size.height == 0 || image.size.width == 0) {
        throw InputError("there are no pixels in an image of " +
                             std::to_string(image.size.height) + "x" +
                             std::to_string(image.size.width),
                         "give at least one, as RGB of a byte a channel");
    }
    if (image.stride != 0 && image.stride < image.size.width * 3) {
        throw InputError("a stride of " + std::to_string(image.stride) +
                             " bytes is shorter than a row of " +
                             std::to_string(image.size.width) + " RGB pixels",
                         "give bytes from one row to the next, or 0 where rows are packed");
    }
}

void check_input(const Tensor& input, const TensorInfo& wanted) {
    const bool bytes = std::holds_alternative<std::vector<std::uint8_t>>(input.values);
    if (bytes != (wanted.dtype == "uint8")) {
        throw RunnerError(wanted.name + " is of " + (bytes ? "bytes" : "floats") +
                              ", the network takes " + wanted.dtype,
                          "give std::vector<std::uint8_t> for uint8, else floats");
    }
    const std::size_t given =
        std::visit([](const auto& values) { return values.size(); }, input.values);
    Shape shape{wanted.batch.value_or(input.shape.empty() ? 1 : input.shape.front())};
    shape.insert(shape.end(), wanted.rest.begin(), wanted.rest.end());
    if (input.shape != shape || given != count_of(shape) || given == 0) {
        throw RunnerError(wanted.name + " has shape " + spelled(input.shape) + " and " +
                              std::to_string(given) + " values, the network takes " +
                              spelled(shape),
                          "resize the images, or export that size and batch");
    }
}

/// No image holds NaN or infinity.
void check_finite(const Tensor& input, const std::string& name) {
    const auto* floats = std::get_if<std::vector<float>>(&input.values);
    const auto finite = [](float value) { return std::isfinite(value); };
    if (floats != nullptr && !std::all_of(floats->begin(), floats->end(), finite)) {
        throw RunnerError(name + " holds values that are NaN or infinite",
                          "look where it was normalised: a deviation of 0, or values not set");
    }
}

}  // namespace

struct Session::State {
    Artefact artefact;
    SessionOptions options;
    std::size_t batch;
    ClassSet classes;
    std::unique_ptr<Backend> backend;

    [[nodiscard]] const Manifest& manifest() const noexcept { return artefact.manifest; }

    [[nodiscard]] Answer run(const Tensor& input) const {
        check_input(input, manifest().input);
        Answer answer = backend->run(input);
        check_answer(answer, input.shape.front());
        return answer;
    }

    /// Whatever follows trusts these shapes.
    void check_answer(const Answer& answer, std::size_t images) const {
        Shape wanted{images};
        const auto& rest = manifest().output.rest;
        wanted.insert(wanted.end(), rest.begin(), rest.end());
        const bool bytes = manifest().output_format == OutputFormat::Classmap;
        const bool typed = bytes ? answer.bytes != nullptr : answer.floats != nullptr;
        if (answer.shape != wanted || !typed || wanted.size() != dimensions()) {
            throw RunnerError(backend->name() + " returned " + spelled(answer.shape) +
                                  ", the sidecar says " + spelled(wanted) + " of " +
                                  manifest().output.dtype,
                              "export or build the artefact again");
        }
    }

    [[nodiscard]] std::size_t dimensions() const noexcept {
        if (manifest().task == Task::Classify) {
            return 2;
        }
        return manifest().output_format == OutputFormat::Classmap ? 3 : 4;
    }

    /// Calls `use(answer, place, image)` for each image.
    template <typename Use>
    void ask(const std::vector<ImageView>& images, Use use) const {
        std::for_each(images.begin(), images.end(), check_view);
        for (std::size_t start = 0; start < images.size(); start += batch) {
            const auto first = images.begin() + static_cast<std::ptrdiff_t>(start);
            const std::size_t count = std::min(batch, images.size() - start);
            const std::vector<ImageView> group(first,
                                               first + static_cast<std::ptrdiff_t>(count));
            const Answer answer =
                run(prepare(group, manifest().preparation, options.fit, batch));
            for (std::size_t place = 0; place < count; ++place) {
                use(answer, place, group[place]);
            }
        }
    }

    [[nodiscard]] LabelMap labels(const Answer& answer, std::size_t place,
                                  ImageSize size) const {
        const ImageSize input = manifest().preparation.size;
        const ImageSize part = shown_part(size, input, options.fit);
        const std::size_t each = count_of(answer.shape) / answer.shape.front();
        const std::size_t width = answer.shape.back();
        const ImageSize stored{answer.shape[answer.shape.size() - 2], width};
        if (answer.bytes != nullptr) {
            const ClassMap map{answer.bytes + (place * each), manifest().num_classes, stored,
                               part};
            return decide(map, size);
        }
        const ScoreMaps scores{answer.floats + (place * each), answer.shape[1], stored, input,
                               part};
        return decide(scores, size);
    }

    [[nodiscard]] std::vector<float> probabilities(const Answer& answer,
                                                   std::size_t place) const {
        const std::size_t count = answer.shape[1];
        const float* scores = answer.floats + (place * count);
        if (manifest().output_format == OutputFormat::Probabilities) {
            return {scores, scores + count};
        }
        return softmax(scores, count);
    }
};

Session::Session(const std::filesystem::path& model, const SessionOptions& options) {
    if (options.parallel == 0) {
        throw UsageError("no run at once is none at all", "give 1 or more for parallel");
    }
    Artefact artefact = open_artefact(model);
    const std::size_t batch = batch_for(artefact.manifest, options);
    auto backend = open_backend(artefact, options);
    ClassSet classes = choose_classes(artefact.manifest);
    state_ = std::make_unique<State>(
        State{std::move(artefact), options, batch, std::move(classes), std::move(backend)});
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

LabelMap Session::segment(const ImageView& image) const {
    return std::move(segment(std::vector<ImageView>{image}).front());
}

std::vector<LabelMap> Session::segment(const std::vector<ImageView>& images) const {
    check_task(manifest(), Task::Segment);
    std::vector<LabelMap> maps;
    maps.reserve(images.size());
    state_->ask(images, [&](const Answer& answer, std::size_t place, const ImageView& image) {
        maps.push_back(state_->labels(answer, place, image.size));
    });
    return maps;
}

std::vector<float> Session::classify(const ImageView& image) const {
    return std::move(classify(std::vector<ImageView>{image}).front());
}

std::vector<std::vector<float>> Session::classify(const std::vector<ImageView>& images) const {
    check_task(manifest(), Task::Classify);
    std::vector<std::vector<float>> shares;
    shares.reserve(images.size());
    state_->ask(images, [&](const Answer& answer, std::size_t place, const ImageView&) {
        shares.push_back(state_->probabilities(answer, place));
    });
    return shares;
}

Tensor Session::run(const Tensor& input) const {
    check_finite(input, manifest().input.name);
    const Answer answer = state_->run(input);
    const std::size_t count = count_of(answer.shape);
    if (answer.bytes != nullptr) {
        return {answer.shape, std::vector<std::uint8_t>(answer.bytes, answer.bytes + count)};
    }
    return {answer.shape, std::vector<float>(answer.floats, answer.floats + count)};
}

const Manifest& Session::manifest() const noexcept { return state_->manifest(); }
const ClassSet& Session::classes() const noexcept { return state_->classes; }
std::size_t Session::batch() const noexcept { return state_->batch; }
const std::string& Session::name() const noexcept { return state_->backend->name(); }

}  // namespace hrvit

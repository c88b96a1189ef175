# %% [markdown]
# # From a folder of images to a model that explains itself
# A notebook as a text: open it in Jupyter with jupytext, or run it. FOLDER has a sub-folder of images for each class.

# %%
import sys

import minicnn
from minicnn.classify.plot_explanation import draw_explanation
from minicnn.data import ImageFolder
from minicnn.io.figures import save_figure

folder, here = sys.argv[1:3] if len(sys.argv) > 2 else ("pets", ".")
images = ImageFolder(folder, max_side=64)
train, validation = images.split(len(images) // 4, rng=0)

# %% The network, as a table
network = minicnn.SimpleNet(num_classes=len(images.class_names), rng=0)
print(network.summary((3, 64, 64)))

# %% Training
classifier, trainer = minicnn.train_classifier(train, validation, epochs=20, network=network)
minicnn.plot_history(trainer.history, "accuracy").figure.savefig(f"{here}/history.png")

# %% Where it is wrong
result = minicnn.evaluate(classifier, validation)
print(f"accuracy {result.accuracy:.2f}, macro F1 {result.macro_f1:.2f}")
minicnn.plot_confusion(result).figure.savefig(f"{here}/confusion.png")

# %% Saved, and loaded again: the same bits
classifier.save(f"{here}/model.safetensors")
again = minicnn.Classifier.load(f"{here}/model.safetensors")
image, label = validation[0]
assert (again.predict([image]) == classifier.predict([image])).all()

# %% Why it decided so
x, k = again.as_input(image), int(again.predict([image]).argmax())
cam, gradient = minicnn.grad_cam(again.network, x, k), minicnn.saliency(again.network, x, k)
save_figure(draw_explanation(image, cam, gradient, f"{again.class_names[k]}"), f"{here}/why.png")

"""CNNClassifier where scikit-learn's own classifiers go: in a pipeline, cross-validated, and its settings searched."""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from minicnn.interop.sklearn import CNNClassifier


def main():
    X, y = load_digits(return_X_y=True)  # X (1797, 64): images 8 × 8, written out
    X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=800, random_state=0)
    pipeline = make_pipeline(MinMaxScaler(), CNNClassifier(image_shape=(1, 8, 8), epochs=4, random_state=0))
    scores = cross_val_score(pipeline, X_train, y_train, cv=2, n_jobs=2)
    print("accuracy in two folds:", " ".join(f"{score:.2f}" for score in scores))

    grid = {"cnnclassifier__lr": [0.0001, 0.01]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X_train, y_train)
    for settings, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        print(f"learning rate {settings['cnnclassifier__lr']}: {score:.2f}")
    print(f"the better of them on the test images: {search.score(X_test, y_test):.2f}")


if __name__ == "__main__":
    main()

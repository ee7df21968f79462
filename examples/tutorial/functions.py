import json
import pickle

import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split


def load_data(path="data.csv"):
    df = pd.read_csv(path)
    print(f"{len(df)} rows, {len(df.columns)} columns")
    return df


def preprocess_data(df, test_size=0.2, random_state=42):
    X = df.drop(columns="malignant")
    y = df["malignant"]
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=test_size, random_state=random_state, stratify=y
    )
    return {"X_train": X_train, "X_test": X_test, "y_train": y_train, "y_test": y_test}


def train_model(preprocessed, n_estimators=100, random_state=42):
    model = RandomForestClassifier(n_estimators=n_estimators, random_state=random_state)
    model.fit(preprocessed["X_train"], preprocessed["y_train"])
    return {"model": model, "features": list(preprocessed["X_train"].columns)}


def evaluate_model(model_data, preprocessed):
    predicted = model_data["model"].predict(preprocessed["X_test"])
    actual = preprocessed["y_test"]
    return {
        "accuracy": float(accuracy_score(actual, predicted)),
        "f1": float(f1_score(actual, predicted)),
        "test_rows": len(actual),
    }


def save_model(model_data, path):
    with open(path, "wb") as f:
        pickle.dump(model_data, f)


def save_results(results, path):
    with open(path, "w") as f:
        json.dump(results, f, indent=2)


def train_ml_model_basic():
    print("Loading data...")
    df = load_data("data.csv")
    print("Preprocessing...")
    preprocessed = preprocess_data(df, test_size=0.2, random_state=42)
    print("Training model...")
    model_data = train_model(preprocessed, n_estimators=100, random_state=42)
    print("Evaluating...")
    results = evaluate_model(model_data, preprocessed)
    print(f"Accuracy: {results['accuracy']:.4f}")
    save_model(model_data, "model.pkl")
    save_results(results, "results.json")
    return results

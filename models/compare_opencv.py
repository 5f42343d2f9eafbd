#!/usr/bin/env python3
"""Compares Vigil's detector and embedder with OpenCV's FaceDetectorYN and FaceRecognizerSF.

An independent implementation of the same two models: the same photographs go through both, and
landmarks and embeddings must agree. Needs `opencv-python-headless==4.12.0.88` in the Python that
runs it, the models as packaged (before preparation: OpenCV reads those), and the dump program:

  cargo build --example face_dump
  compare_opencv.py DUMP MODELS_DIR YUNET_AS_PACKAGED PICTURE...

Both get the same pixels: OpenCV decodes each photograph, Vigil gets it as PNG. (JPEG decoders
differ by a few grey levels, enough to move a cosine by 0.002.) A picture larger than Vigil's first look (1280 px) or a face larger than the detector's range
(300 px) is looked at differently on purpose, and is listed but not compared.
"""

import json
import os
import subprocess
import sys
import tempfile

import cv2
import numpy as np

LARGEST_PICTURE, LARGEST_FACE = 1280, 300
LANDMARK_PX, COSINE = 0.5, 0.999


def run(dump, models, folder, pictures):
    copies = []
    for number, picture in enumerate(pictures):
        copies.append(os.path.join(folder, f"{number}.png"))
        cv2.imwrite(copies[-1], cv2.imread(picture), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    output = subprocess.run([dump, models, *copies], check=True, capture_output=True, text=True).stdout
    return [{**json.loads(line), "file": picture} for line, picture in zip(output.splitlines(), pictures)]


def main(dump, models, yunet, *pictures):
    with tempfile.TemporaryDirectory() as folder:
        lines = run(dump, models, folder, pictures)
    detector = cv2.FaceDetectorYN.create(yunet, "", (320, 320), 0.6, 0.3, 5000)
    recognizer = cv2.FaceRecognizerSF.create(f"{models}/fetched/face_recognition_sface_2021dec_fp32.onnx", "")
    landmarks, cosines, missed, compared, left_out = [], [], 0, 0, []
    for ours in lines:
        name = ours["file"].rsplit("/", 1)[-1]
        image = cv2.imread(ours["file"])
        if max(image.shape[:2]) > LARGEST_PICTURE:
            left_out.append(f"{name} ({image.shape[1]}x{image.shape[0]})")
            continue
        detector.setInputSize(image.shape[1::-1])
        _, theirs = detector.detect(image)
        for face in [] if theirs is None else theirs:
            if face[2] > LARGEST_FACE:
                left_out.append(f"{name} (face of {face[2]:.0f} px)")
                continue
            points = face[4:14].reshape(5, 2)
            best = min(ours["faces"], default=None, key=lambda f: np.abs(np.array(f["landmarks"]) - points).max())
            off = np.inf if best is None else np.abs(np.array(best["landmarks"]) - points).max()
            if off > 5:
                missed += 1
                print(f"{name}: OpenCV sees a face at {face[:4].round()} (score {face[14]:.2f}), we do not")
                continue
            feature = recognizer.feature(recognizer.alignCrop(image, face))[0]
            cosine = float(feature @ np.array(best["template"]) / np.linalg.norm(feature))
            compared += 1
            landmarks.append(float(off))
            cosines.append(cosine)
            if off > LANDMARK_PX or cosine < COSINE:
                print(f"{name}: landmarks differ by {off:.3f} px, cosine {cosine:.6f}, face {face[2]:.0f} px wide")
    print(f"OpenCV {cv2.__version__}: {compared} faces compared, {missed} seen by OpenCV alone")
    print(f"landmarks: largest difference {max(landmarks):.4f} px, allowed {LANDMARK_PX}")
    print(f"embeddings: smallest cosine {min(cosines):.6f}, mean {np.mean(cosines):.6f}, needed {COSINE}")
    if left_out:
        print("not compared:", ", ".join(left_out))
    if missed or max(landmarks) > LANDMARK_PX or min(cosines) < COSINE:
        raise SystemExit("the two implementations disagree")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])

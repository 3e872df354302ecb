"""The export stage: ONNX forms of a student, each compared with torch before it is kept."""

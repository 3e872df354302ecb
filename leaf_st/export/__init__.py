"""Fifth stage: ONNX forms of a student, compared with torch before they are kept."""

"""DICOM files: pixels as their header asks to display them, and the patient data."""

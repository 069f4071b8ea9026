"""The S3 operations that every client needs, as boto3 sends them. One group of checks per operation or header."""

import s3_conditional
import s3_data
import s3_multipart
import s3_objects
from checks import main

if __name__ == "__main__":
    names = {}
    for module in [s3_objects, s3_data, s3_conditional, s3_multipart]:
        for name, value in vars(module).items():
            if name.startswith("check_"):
                assert name not in names, f"two checks are named {name}"
                names[name] = value
    main(names)

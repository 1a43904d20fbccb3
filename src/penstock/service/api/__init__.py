"""The Lambda API, as boto3, the AWS CLI and `penstock invoke` call it."""

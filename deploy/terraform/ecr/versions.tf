terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The provider for GitHub needs no thumbprint of a certificate from 5.81 on.
      version = ">= 5.81, < 7.0"
    }
  }
}
